//! "Did you mean": the known name nearest to one that is not known.

/// The candidate that is one or two edits away, the nearest first, then the first.
///
/// Nothing is suggested for a name that is itself a candidate, nor when everything but the length
/// would have to change.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for candidate in candidates {
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

/// The Levenshtein distance: insertions, deletions and substitutions of characters.
fn distance(left: &str, right: &str) -> usize {
    const CEILING: usize = 64;
    let right: Vec<char> = right.chars().collect();
    if left.chars().count().max(right.len()) > CEILING {
        return CEILING;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a011_near_names_are_suggested() {
        let flags = ["mount", "network", "security"];
        assert_eq!(suggest("mont", flags), Some("mount"));
        assert_eq!(suggest("netwrk", flags), Some("network"));
        assert_eq!(suggest("mount", flags), None);
        assert_eq!(suggest("volume", flags), None);
        assert_eq!(suggest("x", ["y", "to"]), None);
    }
}
