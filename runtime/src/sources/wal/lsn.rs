//! A place in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A place in the write-ahead log: bytes since its beginning. Written as PostgreSQL does (type `pg_lsn`): two
/// hexadecimal numbers of 32 bits with a slash between.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_once('/').ok_or(())?;
        let part = |text: &str| u32::from_str_radix(text, 16).map_err(|_| ());
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for (text, place) in [("0/0", 0), ("16/B374D848", 0x16_b374_d848), ("FFFFFFFF/FFFFFFFF", u64::MAX)] {
            assert_eq!(text.parse(), Ok(Lsn(place)));
            assert_eq!(Lsn(place).to_string(), text);
        }
        for bad in ["", "1", "1/", "/1", "1/123456789", "x/1"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
