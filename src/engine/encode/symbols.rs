//! Texts of a 2.0 request, each once; the first is empty.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::encode::known::Place;
use crate::encode::snappy::SnappyWriter;
use crate::protobuf::BYTES;
use crate::protobuf::write::{push_varint, tag};

const V2_REQUEST_SYMBOLS: u8 = tag(4, BYTES);

/// The texts of one request after the other.
#[derive(Debug, Default)]
pub(in crate::encode) struct Symbols {
    /// As fields of the request.
    pub(in crate::encode) fields: SnappyWriter,
    /// Number and place of each text in `fields`.
    table: HashTable<(u32, Place)>,
    /// Targets choose the texts.
    hash_state: RandomState,
    head: Vec<u8>,
}

impl Symbols {
    pub(in crate::encode) fn clear(&mut self) {
        self.fields.clear();
        self.table.clear();
    }

    /// The number of a text.
    pub(in crate::encode) fn intern(&mut self, text: &str) -> u32 {
        if self.fields.raw().is_empty() {
            self.fields.push(&[V2_REQUEST_SYMBOLS, 0]);
        }
        if text.is_empty() {
            return 0;
        }
        let Self { fields, table, hash_state, head } = self;
        let text_at = |place: Place| fields.raw().get(place.range()).unwrap_or_default();
        let hash = hash_state.hash_one(text.as_bytes());
        if let Some((number, _)) = table.find(hash, |(_, place)| text_at(*place) == text.as_bytes()) {
            return *number;
        }
        // The empty text is number 0 and not in the table.
        let number = u32::try_from(table.len()).unwrap_or(u32::MAX).saturating_add(1);
        head.clear();
        head.push(V2_REQUEST_SYMBOLS);
        push_varint(head, text.len() as u64);
        fields.push(head);
        // Behind 4 GiB no request is made.
        let place = Place::new(fields.raw().len(), text.len()).unwrap_or_default();
        fields.push(text.as_bytes());
        let text_at = |place: Place| fields.raw().get(place.range()).unwrap_or_default();
        table.insert_unique(hash, (number, place), |(_, place)| hash_state.hash_one(text_at(*place)));
        number
    }
}
