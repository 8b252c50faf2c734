//! All targets, one pool at a time: an answer in pieces holds one list of targets, whatever it goes through.

use crate::scrape::targets::status::{ActiveTarget, PoolStatus, StatusBoard};
use crate::scrape::targets::target::Discovered;
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
    entries(board, jobs, |pool| &pool.active)
}

/// The targets of some jobs that relabelling dropped.
pub(in crate::web) fn dropped(
    board: &Arc<StatusBoard>,
    jobs: Vec<String>,
) -> impl Iterator<Item = (Rc<str>, Discovered)> + use<> {
    entries(board, jobs, |pool| &pool.dropped)
}

/// What stands in one of the lists of each pool.
fn entries<T: Clone>(
    board: &Arc<StatusBoard>,
    jobs: Vec<String>,
    list: fn(&PoolStatus) -> &[T],
) -> impl Iterator<Item = (Rc<str>, T)> + use<T> {
    pools(board, jobs).flat_map(move |(job, pool)| {
        let mut place = 0..list(&pool).len();
        std::iter::from_fn(move || Some((Rc::clone(&job), list(&pool).get(place.next()?)?.clone())))
    })
}
