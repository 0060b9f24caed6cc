//! "Did you mean": the known name nearest to one that is not known.

/// The most bytes of a character.
const LARGEST: usize = 4;

/// The candidate that is one or two edits away, the nearest first, then the first.
///
/// Nothing is suggested for a name that is itself a candidate, nor when everything but the length
/// would have to change.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for candidate in candidates.into_iter().filter(|candidate| candidate.len().abs_diff(name.len()) <= 2 * LARGEST) {
        let edits = distance(name, candidate);
        if edits == 0 {
            return None;
        }
        let near = edits <= 2 && edits < name.chars().count().max(candidate.chars().count());
        if near && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, deleted, substituted or swapped with their neighbour
/// (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    const CEILING: usize = 64;
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().max(right.len()) > CEILING {
        return CEILING;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, character) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in right.iter().enumerate() {
            let substituted = rows[i][j] + usize::from(character != other);
            let swaps = i > 0 && j > 0 && *character == right[j - 1] && left[i - 1] == *other;
            let swapped = if swaps { rows[i - 1][j - 1] + 1 } else { usize::MAX };
            row.push(substituted.min(rows[i][j + 1] + 1).min(row[j] + 1).min(swapped));
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a011_near_names_are_suggested() {
        let flags = ["mount", "network", "security"];
        assert_eq!(suggest("mont", flags), Some("mount"));
        assert_eq!(suggest("netwrk", flags), Some("network"));
        assert_eq!(suggest("RNU", ["ENV", "RUN"]), Some("RUN"));
        assert_eq!(suggest("mount", flags), None);
        assert_eq!(suggest("volume", flags), None);
        assert_eq!(suggest("x", ["y", "to"]), None);
    }
}
