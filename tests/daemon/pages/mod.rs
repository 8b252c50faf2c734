//! The pages: what they say of a box where all is well, and of one where something is not.

mod cost;
mod discovery;
mod explore;
mod overview;
mod remote_write;
mod scrape_now;
mod storage;
mod targets;
