//! Remote write to endpoints of the tests' own.

mod catch_up;
mod chaos;
mod claims;
mod clouds;
mod compliance;
mod disasters;
mod full_disk;
mod metadata;
mod order;
mod outage;
mod pause;
mod protocol;
mod refusals;
mod restart;
mod write;
