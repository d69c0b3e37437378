//! A set of places in a segment of the inbox.

use crate::store::Error;

use super::decode::damaged;

/// Events of a segment, as a power of two.
pub(super) const SEGMENT_BITS: u32 = 14;
/// Events of a segment.
pub(super) const SEGMENT: usize = 1 << SEGMENT_BITS;
const WORDS: usize = SEGMENT / 64;
const BYTES: usize = SEGMENT / 8;

/// Which events of a segment: those whose number ends in these bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits(Box<[u64; WORDS]>);

impl Default for Bits {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl Bits {
    pub(super) fn of(seqs: &[i64]) -> Self {
        let mut bits = Self::default();
        bits.extend(seqs.iter().copied());
        bits
    }

    pub(super) fn extend(&mut self, seqs: impl IntoIterator<Item = i64>) {
        seqs.into_iter().for_each(|seq| self.add(seq));
    }

    /// Adds the event of this number.
    pub(super) fn add(&mut self, seq: i64) {
        let place = place(seq);
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Keeps what is in the other too.
    pub(super) fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(own, other)| *own &= other);
    }

    /// Removes what is in the other.
    pub(super) fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(own, other)| *own &= !other);
    }

    /// The numbers of a segment's events, ascending.
    pub(super) fn seqs(&self, segment: i64) -> impl Iterator<Item = i64> {
        self.places().map(move |place| (segment << SEGMENT_BITS) | i64::from(place))
    }

    fn places(&self) -> impl Iterator<Item = u16> {
        self.0.iter().enumerate().flat_map(|(n, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some((n as u32 * 64 + bit) as u16)
            })
        })
    }

    /// As it is kept: a list of places where they are few, else a bit for each event.
    pub(super) fn encode(&self) -> Vec<u8> {
        if self.count() * 2 < BYTES as u64 {
            self.places().flat_map(u16::to_le_bytes).collect()
        } else {
            self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut bits = Self::default();
        if bytes.len() == BYTES {
            for (word, bytes) in bits.0.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
        } else if bytes.len() < BYTES && bytes.len().is_multiple_of(2) {
            bytes.chunks_exact(2).for_each(|pair| bits.add(i64::from(u16::from_le_bytes([pair[0], pair[1]]))));
        } else {
            return Err(damaged("segment of the inbox", bytes.len()));
        }
        Ok(bits)
    }
}

fn place(seq: i64) -> usize {
    (seq & (SEGMENT as i64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(seqs: impl IntoIterator<Item = i64>) -> Bits {
        let mut bits = Bits::default();
        bits.extend(seqs);
        bits
    }

    #[test]
    fn what_is_kept_is_read_back_however_many_there_are() {
        for step in [1, 2, 15, 16, 17, 4000, 1 << 20] {
            let seqs: Vec<i64> = (3 * SEGMENT as i64..4 * SEGMENT as i64).step_by(step).collect();
            let bits = of(seqs.iter().copied());
            assert_eq!(bits.count(), seqs.len() as u64);
            let read = Bits::decode(&bits.encode()).unwrap();
            assert_eq!(read, bits, "{step}");
            assert_eq!(read.seqs(3).collect::<Vec<_>>(), seqs);
            assert!(bits.encode().len() <= BYTES);
        }
        assert!(Bits::decode(&[1]).is_err() && Bits::decode(&[0; BYTES + 2]).is_err());
    }

    #[test]
    fn sets_are_intersected_and_subtracted() {
        let (mut even, third) = (of((0..100).step_by(2)), of((0..100).step_by(3)));
        even.keep(&third);
        assert_eq!(even.seqs(0).collect::<Vec<_>>(), (0..100).step_by(6).collect::<Vec<_>>());
        even.remove(&of(6..100));
        assert_eq!(even.seqs(0).collect::<Vec<_>>(), [0]);
        even.remove(&third);
        assert!(even.is_empty());
    }
}
