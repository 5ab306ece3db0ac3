//! Where the parts of a head lie in the buffer that it was read from.
//!
//! What the parser found borrows the buffer. It is to be taken out of the buffer and shared instead of copied, so its places are
//! noted before that.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use smallvec::SmallVec;

/// As many fields as most heads have; more of them cost an allocation.
const COMMON_FIELDS: usize = 24;

/// The places of a head's fields.
pub(super) struct Places {
    start: usize,
    fields: SmallVec<[(Range<usize>, Range<usize>); COMMON_FIELDS]>,
}

impl Places {
    /// Those of fields that were found in this buffer.
    pub(super) fn of(buffer: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let mut places = Self { start: buffer.as_ptr() as usize, fields: SmallVec::new() };
        for field in fields {
            let place = (places.place(field.name.as_bytes()), places.place(field.value));
            places.fields.push(place);
        }
        places
    }

    /// That of another part of the buffer.
    pub(super) fn place(&self, part: &[u8]) -> Range<usize> {
        let from = (part.as_ptr() as usize).wrapping_sub(self.start);
        from..from.wrapping_add(part.len())
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The places of each field's name and value.
    pub(super) fn fields(&self) -> impl Iterator<Item = &(Range<usize>, Range<usize>)> {
        self.fields.iter()
    }
}

/// The field in these places of `head`, which was cut off the front of the buffer; its value shares the memory of that. `None` when it
/// cannot be a field.
// A dozen times a request: as a call, which hands its result over in memory, it is a hundredth of all instructions.
#[inline(always)]
pub(super) fn field(head: &Bytes, (name, value): &(Range<usize>, Range<usize>)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(head.get(name.clone())?).ok()?;
    let value = HeaderValue::from_maybe_shared(share(head, value)?).ok()?;
    Some((name, value))
}

/// A part of a head that shares its memory; `None` where it does not lie in there.
#[inline(always)]
pub(super) fn share(head: &Bytes, place: &Range<usize>) -> Option<Bytes> {
    let lies_inside = place.start <= place.end && place.end <= head.len();
    lies_inside.then(|| head.slice(place.clone()))
}
