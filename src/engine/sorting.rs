//! Sorting where speed is not what counts: little code for each type that is sorted.
//!
//! The standard library's sort is made anew for each type and each order, some 6 kB of code a time. Here the numbers of the
//! places are sorted, by one copy of it, and the list is put into their order. What is sorted for every page and every
//! request does not come here.

use std::cmp::Ordering;

/// Sorts a list, stable.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::cmp);
}

/// Sorts a list by a key, stable; the key is asked for at each comparison.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |a, b| key(a).cmp(&key(b)));
}

/// Sorts a list, stable. Takes a word of memory for each item.
pub fn sort_by<T>(list: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..list.len()).collect();
    let items = &*list;
    sort_places(&mut order, &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    });
    for place in 0..list.len() {
        let mut from = order.get(place).copied().unwrap_or(place);
        // What stood there was swapped away, to where the item of that place came from.
        while let Some(next) = order.get(from).copied().filter(|_| from < place) {
            from = next;
        }
        list.swap(place, from);
        // Whoever comes this way later has it shorter: all ways together are as long as the list.
        if let Some(order) = order.get_mut(place) {
            *order = from;
        }
    }
}

#[inline(never)]
fn sort_places(places: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_what_is_equal_keeps_its_order() {
        // Numbers without a pattern, many of them equal.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 59
        };
        for n_items in [0, 1, 2, 3, 10, 100, 1000] {
            let mut list: Vec<(u64, usize)> = (0..n_items).map(|idx| (next(), idx)).collect();
            let mut want = list.clone();
            want.sort_by_key(|(key, _)| *key);
            sort_by_key(&mut list, |(key, _)| *key);
            assert_eq!(list, want);
            want.sort_by(|a, b| b.cmp(a));
            sort_by(&mut list, |a, b| b.cmp(a));
            assert_eq!(list, want);
            want.sort();
            sort(&mut list);
            assert_eq!(list, want);
        }
    }
}
