//! When each target is scraped, and by which worker.

pub mod end_of_run;
pub mod mailbox;
pub(crate) mod queue_place;
pub mod scheduler;
pub(crate) mod set_aside;
pub(crate) mod slots;
pub(crate) mod suspects;
pub mod timing;
pub mod workers;
