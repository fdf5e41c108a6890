//! Numbers in as few bytes as they need: LEB128, and zigzag for differences.

pub(super) fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front; `None` if there is none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(7 * i as u32)?;
        if i == 9 && *byte > 1 {
            return None; // more than 64 bits
        }
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some(number);
        }
    }
    None
}

/// The difference from `base` to `number`, near ones in few bytes whatever their sign.
pub(super) fn put_difference(number: u64, base: u64, out: &mut Vec<u8>) {
    let difference = number.wrapping_sub(base).cast_signed();
    put((difference << 1 ^ difference >> 63).cast_unsigned(), out);
}

pub(super) fn take_difference(bytes: &mut &[u8], base: u64) -> Option<u64> {
    let zigzag = take(bytes)?;
    let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
    Some(base.wrapping_add(difference.cast_unsigned()))
}

pub(super) fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Costs of all limits, their number first.
pub(super) fn put_costs(costs: &[u64], out: &mut Vec<u8>) {
    put(costs.len() as u64, out);
    for cost in costs {
        put(*cost, out);
    }
}

pub(super) fn take_costs(bytes: &mut &[u8]) -> Option<Box<[u64]>> {
    const MOST: u64 = 64;
    let count = take(bytes).filter(|count| *count <= MOST)?;
    (0..count).map(|_| take(bytes)).collect()
}
