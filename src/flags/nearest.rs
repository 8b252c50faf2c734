//! What somebody may have meant.

/// The known word that `given` is a slip of, if there is one.
pub(in crate::flags) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.filter_map(|word| Some((strangeness(given, word)?, word)));
    near.min_by_key(|(strangeness, _)| *strangeness).map(|(_, word)| word)
}

/// How far apart the two are; `None` if neither is a slip of the other.
fn strangeness(given: &str, known: &str) -> Option<usize> {
    let (given, known) = (plain(given), plain(known));
    if given.is_empty() {
        return None;
    }
    let slips = distance(&given, &known);
    if slips <= (given.len() / 4).max(1) && slips < known.len() {
        return Some(slips);
    }
    // Begun, or with parts left out: `storage.path` for `storage.agent.path`.
    let is_begun = given.len() >= 3 && known.starts_with(given.as_slice());
    let is_part = |given: &[char], known: &[char]| {
        let mut parts = known.split(|c| *c == '.');
        given.len() >= 4 && given.split(|c| *c == '.').all(|part| parts.any(|other| other == part))
    };
    (is_begun || is_part(&given, &known)).then(|| 100 + known.len().abs_diff(given.len()))
}

/// Without what is easily confused: case, and what stands between parts of a name.
fn plain(word: &str) -> Vec<char> {
    word.chars().map(|c| if matches!(c, '-' | '_' | ' ') { '.' } else { c.to_ascii_lowercase() }).collect()
}

/// Optimal string alignment: letters that are wrong, missing, too many, or two that changed places.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let cost = usize::from(left[i - 1] != right[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips() {
        let known =
            ["config.file", "storage.agent.path", "web.listen-address", "log.level", "query", "check"];
        let check = |given: &str, want: Option<&str>| {
            assert_eq!(nearest(given, known.into_iter()), want, "{given}");
        };
        check("config.fiel", Some("config.file"));
        check("config-file", Some("config.file"));
        check("CONFIG.FILE", Some("config.file"));
        check("conf", Some("config.file"));
        check("storage.path", Some("storage.agent.path"));
        check("listen-address", Some("web.listen-address"));
        check("loglevel", Some("log.level"));
        check("qurey", Some("query"));
        check("chek", Some("check"));
        check("nonsense", None);
        check("", None);
        check("x", None);
    }
}
