//! Whether all attempts of a row are there.

use roaring::RoaringTreemap;

use super::findings::Missing;

/// Higher numbers are not looked after.
const MOST: u32 = 64;

/// Knows which rows were sent how often, a bit or two for each.
///
/// A row's second send cannot be without its first. A log from which a send was taken out shows it,
/// unless all later ones of that row are gone as well.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Rows that were sent for the first, second, … time.
    sent: Vec<RoaringTreemap>,
    pub(super) missing: u64,
    pub(super) first: Option<Missing>,
}

impl Numbers {
    pub(super) fn send(&mut self, row: u64, number: u32) {
        if number == 0 || number > MOST {
            return;
        }
        let place = number as usize - 1;
        if self.sent.len() <= place {
            self.sent.resize_with(place + 1, RoaringTreemap::new);
        }
        self.sent[place].insert(row);
        if place > 0 && !self.sent[place - 1].contains(row) {
            self.missing += 1;
            self.first.get_or_insert(Missing { row, number: number - 1 });
        }
    }
}
