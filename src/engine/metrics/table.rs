//! A room's metrics as one table: each is named once, with its type, its name on the page and its help.

/// Declares a struct of metrics with its `Default` and its `Collect`.
///
/// A line reads `field: Type => "name", "help";`. `= make` behind the type makes what has no default, `["label" =
/// "value"]` behind the name gives it labels that never change, and a metric of the same family as the one before needs
/// no help. Families stand on the page in the order of the table. What lives as long and is no metric stands `beside`
/// them.
#[macro_export]
macro_rules! metrics_table {
    (
        $(#[$meta:meta])*
        pub struct $Table:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $Type:ty $(= $make:expr)? => $name:literal $([$label:literal = $value:literal])? $(, $help:literal)?;
            )*
        }
        $(beside { $($(#[$other_meta:meta])* $other:ident: $Other:ty;)* })?
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $Table {
            $(
                #[doc = concat!("`", $name, $("{", $label, "=", $value, "}",)? "`. " $(, $help)?)]
                $(#[$field_meta])*
                pub $field: $Type,
            )*
            $($($(#[$other_meta])* pub $other: $Other,)*)?
        }

        impl Default for $Table {
            fn default() -> Self {
                Self { $($field: $crate::metrics_table!(@make $($make)?),)* $($($other: Default::default(),)*)? }
            }
        }

        impl $crate::metrics::Collect for $Table {
            fn collect(&self, page: &mut $crate::metrics::page::Page) {
                $(
                    page.metric($name, concat!($($help)?), &[$(($label, $value))?], &self.$field);
                )*
            }
        }
    };
    (@make) => { Default::default() };
    (@make $make:expr) => { $make };
}
