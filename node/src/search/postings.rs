//! Which names of a block contain which three bytes in a row; narrows a search to a few candidates.
//!
//! Invariant: [`Postings::candidates`] leaves out no entry that matches. It may return others; `query` judges them.

use super::query::{Group, Needle};

/// With this few candidates, they are judged rather than narrowed down further.
const FEW: usize = 8;

/// A list this many times longer than another is searched, not walked.
const GALLOP: usize = 8;

/// Number of an entry within its block.
pub(super) type EntryNo = u16;

/// For each trigram of a block the entries that contain it.
#[derive(Debug, Clone)]
pub(super) struct Postings {
    /// Ascending.
    pub(super) trigrams: Box<[u32]>,
    /// Where the entries of each trigram end; they begin where those of the one before end. A
    /// trigram without any is in every entry.
    pub(super) ends: Box<[u32]>,
    /// Ascending within a trigram. If some trigram is in every entry, all entries are at the
    /// end: one list for all such trigrams.
    pub(super) entries: Box<[EntryNo]>,
    /// Entries in the block.
    pub(super) count: usize,
}

/// The runs of three bytes of a text, each as a number.
pub(super) fn trigrams(text: &[u8]) -> impl Iterator<Item = u32> + '_ {
    text.windows(3).map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
}

impl Postings {
    fn list(&self, trigram: u32) -> &[EntryNo] {
        let Ok(at) = self.trigrams.binary_search(&trigram) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        let end = self.ends[at] as usize;
        if start == end { &self.entries[self.entries.len() - self.count..] } else { &self.entries[start..end] }
    }

    /// The entries that may satisfy every group, ascending; `None` if the groups tell nothing.
    pub(super) fn candidates(&self, groups: &[Group]) -> Option<Vec<EntryNo>> {
        let mut bounded: Vec<(usize, &Group)> =
            groups.iter().filter_map(|group| Some((self.bound(group)?, group))).collect();
        bounded.sort_by_key(|(bound, _)| *bound);
        let mut found: Option<Vec<EntryNo>> = None;
        for (bound, group) in bounded {
            if bound >= self.count || found.as_ref().is_some_and(|found| found.len() <= FEW) {
                break;
            }
            found = Some(self.any(group, found.as_deref()));
        }
        found
    }

    /// An upper bound of the entries that contain one of the group; `None` if one of its needles is too short to tell.
    fn bound(&self, group: &Group) -> Option<usize> {
        let of = |needle: &Needle| needle.trigrams.iter().map(|trigram| self.list(*trigram).len()).min();
        group.iter().try_fold(0, |sum, needle| Some(sum + of(needle)?))
    }

    fn any(&self, group: &Group, within: Option<&[EntryNo]>) -> Vec<EntryNo> {
        let mut found = Vec::new();
        for needle in group {
            found.append(&mut self.all(needle, within));
        }
        if group.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    fn all(&self, needle: &Needle, within: Option<&[EntryNo]>) -> Vec<EntryNo> {
        let mut lists: Vec<&[EntryNo]> = needle.trigrams.iter().map(|trigram| self.list(*trigram)).collect();
        lists.extend(within);
        lists.sort_unstable_by_key(|list| list.len());
        let Some((shortest, others)) = lists.split_first() else { return Vec::new() };
        let mut found = shortest.to_vec();
        for list in others.iter().filter(|list| list.len() < self.count) {
            if found.is_empty() {
                break;
            }
            intersect(&mut found, list);
        }
        found
    }
}

/// Intersects one ascending list with another, which is at least as long.
fn intersect(kept: &mut Vec<EntryNo>, list: &[EntryNo]) {
    if list.len() / kept.len().max(1) >= GALLOP {
        kept.retain(|entry| list.binary_search(entry).is_ok());
        return;
    }
    let mut rest = list.iter().copied().peekable();
    kept.retain(|entry| {
        while rest.next_if(|other| other < entry).is_some() {}
        rest.peek() == Some(entry)
    });
}

#[cfg(test)]
mod tests {
    use super::super::builder::Builder;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_are_exact(names in prop::collection::vec("[abcß]{0,12}", 0..60), again in prop::collection::vec("[abcd]{2,4}", 1..9)) {
            let mut builder = Builder::default();
            for texts in [names, again] {
                let postings = builder.build(texts.iter().map(|text| text.as_bytes()));
                for trigram in texts.iter().flat_map(|text| trigrams(text.as_bytes())).chain([0x61_6161, 0x64_6464]) {
                    let has = |text: &String| trigrams(text.as_bytes()).any(|other| other == trigram);
                    let expected = (0..).zip(&texts).filter(|(_, text)| has(text)).map(|(entry, _)| entry);
                    prop_assert!(expected.eq(postings.list(trigram).iter().copied()));
                }
            }
        }

        #[test]
        fn no_entry_is_left_out(
            texts in prop::collection::vec("[abc]{0,12}", 0..60),
            groups in prop::collection::vec(prop::collection::vec("[abc]{1,5}", 1..3), 1..4),
        ) {
            let postings = Builder::default().build(texts.iter().map(|text| text.as_bytes()));
            let needles: Vec<Group> =
                groups.iter().map(|group| group.iter().map(|text| Needle::new(text.as_bytes())).collect()).collect();
            let Some(found) = postings.candidates(&needles) else { return Ok(()) };
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            for (entry, text) in texts.iter().enumerate() {
                if groups.iter().all(|group| group.iter().any(|needle| text.contains(needle))) {
                    prop_assert!(found.contains(&(entry as EntryNo)), "{text}");
                }
            }
        }

        #[test]
        fn intersections_are_exact(
            a in prop::collection::btree_set(0..400u16, 0..100),
            b in prop::collection::btree_set(0..400u16, 0..300),
        ) {
            let (mut kept, list): (Vec<_>, Vec<_>) = (a.iter().copied().collect(), b.iter().copied().collect());
            intersect(&mut kept, &list);
            prop_assert!(kept.iter().eq(a.intersection(&b)));
        }
    }

    #[test]
    fn a_rare_word_narrows_and_a_common_one_does_not() {
        let texts: Vec<String> = (0..1_000).map(|n| format!("common name {n:04}")).collect();
        let postings = Builder::default().build(texts.iter().map(|text| text.as_bytes()));
        let group = |text: &str| vec![Needle::new(text.as_bytes())];
        assert_eq!(postings.candidates(&[group("common"), group("0123")]), Some(vec![123]));
        assert_eq!(postings.candidates(&[group("common")]), None);
        assert_eq!(postings.candidates(&[group("12")]), None, "two letters are no trigram");
        assert_eq!(postings.candidates(&[group("zzz"), group("common")]), Some(vec![]));
    }
}
