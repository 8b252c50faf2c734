//! All targets, one pool at a time: an answer in pieces holds one list of targets, whatever it goes through.

use crate::scrape::status::{ActiveTarget, PoolStatus, StatusBoard};
use crate::scrape::target::Discovered;
use std::rc::Rc;
use std::sync::Arc;

/// The pools of some jobs, each as it is when its turn comes.
pub(in crate::web) fn pools(
    board: &Arc<StatusBoard>,
    jobs: Vec<String>,
) -> impl Iterator<Item = (Rc<str>, Arc<PoolStatus>)> + use<> {
    let board = Arc::clone(board);
    jobs.into_iter().filter_map(move |job| Some((Rc::from(job.as_str()), board.pool(&job)?)))
}

/// The scraped targets of some jobs.
pub(in crate::web) fn active(
    board: &Arc<StatusBoard>,
    jobs: Vec<String>,
) -> impl Iterator<Item = (Rc<str>, ActiveTarget)> + use<> {
    pools(board, jobs).flat_map(|(job, pool)| {
        let mut place = 0..pool.active.len();
        std::iter::from_fn(move || Some((Rc::clone(&job), pool.active.get(place.next()?)?.clone())))
    })
}

/// The targets of some jobs that relabelling dropped.
pub(in crate::web) fn dropped(
    board: &Arc<StatusBoard>,
    jobs: Vec<String>,
) -> impl Iterator<Item = (Rc<str>, Discovered)> + use<> {
    pools(board, jobs).flat_map(|(job, pool)| {
        let mut place = 0..pool.dropped.len();
        std::iter::from_fn(move || Some((Rc::clone(&job), pool.dropped.get(place.next()?)?.clone())))
    })
}
