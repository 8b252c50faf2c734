//! The log: what a start finds, what truncation keeps, what damage and full disks cost.

mod crash;
mod disk_full;
mod import;
mod kill;
mod kinds;
pub(crate) mod power_cuts;
mod returned;
mod truncation;
mod unstamped;
