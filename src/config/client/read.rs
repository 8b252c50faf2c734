//! Texts, files and secrets as the sections of a client have them.

use crate::config::client::secret::Secret;
use crate::config::client::secret::Source;
use crate::config::schema::refuse;
use crate::config::text::fields::Field;
use crate::config::text::fields::Fields;

/// The text of a field that is given and not empty.
pub(in crate::config) fn text_of(field: Option<Field<'_>>) -> Option<String> {
    field?.text().filter(|text| !text.is_empty())
}

/// The value of `inline` or of the file that `file` names; the caller says that both is a mistake.
pub(in crate::config) fn read_source(
    fields: &mut Fields<'_>,
    inline: &'static str,
    file: &'static str,
) -> Option<Source> {
    let text = text_of(fields.take(inline)).map(|text| Source::Inline(Secret::new(text)));
    let path = fields.secret_file(file).map(Source::File);
    text.or(path)
}

pub(in crate::config) fn refuse_if_given(field: Option<Field<'_>>) {
    if let Some(field) = field
        && field.text().is_some_and(|text| !text.is_empty())
    {
        refuse(&field);
    }
}
