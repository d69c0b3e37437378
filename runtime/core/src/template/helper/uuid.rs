//! `{{uuid}}`: a UUIDv7 of the delivery (of the event, outside of one) and the place in the settings: another one
//! at every place, the same on every try.

use sha2::{Digest, Sha256};
use uuid::Builder;

use super::{Absent, Call, Helper};
use crate::template::budget::COSTLY;
use crate::template::found::Found;

pub(super) static UUID: Helper =
    Helper { name: "uuid", args: (0, 0), options: &[], absent: Absent::Passes, verdict: false, run };

fn run<'v>(call: &Call<'_, 'v>) -> Result<Found<'v>, String> {
    let scope = call.scope;
    let id = scope.delivery_id.map_or(scope.event.id.0, |delivery| delivery.0);
    let nth = call.uuids.get();
    call.uuids.set(nth.wrapping_add(1));
    call.budget.work(COSTLY)?;
    let mut hash = Sha256::new();
    hash.update(id.as_bytes());
    for part in [scope.trigger_tag, call.pointer] {
        // With its length, so that no two pairs of parts run together to the same bytes.
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(nth.to_be_bytes());
    let digest = hash.finalize();
    let mut random = [0u8; 10];
    random.copy_from_slice(&digest[..10]);
    // The id's own milliseconds, which a UUIDv7 carries in its first 48 bits.
    let milliseconds = (id.as_u128() >> 80) as u64;
    Ok(Found::text(Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().hyphenated().to_string()))
}
