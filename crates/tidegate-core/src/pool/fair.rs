//! Who should hold how much.

/// Divides `total` so that nobody could get more without taking it from somebody who has no more
/// (max-min), up to what each wants; what nobody wants is divided evenly on top. Where it does not come
/// out even, the first ones from `first` on get one more.
pub(super) fn divide(total: u64, wants: &[u64], first: usize) -> Vec<u64> {
    let count = wants.len();
    let mut given = vec![0; count];
    let mut by_want: Vec<usize> = (0..count).collect();
    by_want.sort_by_key(|&i| wants[i]);
    let (mut left, mut modest) = (total, 0);
    for &i in &by_want {
        if wants[i] > left / (count - modest) as u64 {
            break;
        }
        given[i] = wants[i];
        left -= wants[i];
        modest += 1;
    }
    let mut rest = if modest < count { by_want.split_off(modest) } else { by_want };
    rest.sort_by_key(|&i| (i + count - first) % count);
    let (each, more) = (left / (rest.len() as u64).max(1), left % (rest.len() as u64).max(1));
    for (place, i) in rest.into_iter().enumerate() {
        given[i] += each + u64::from((place as u64) < more);
    }
    given
}

/// What those of one priority ask for.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Places among all, in order.
    pub(super) places: Vec<usize>,
    pub(super) wants: Vec<u64>,
    /// Whose turn it is, of these.
    pub(super) first: usize,
    /// What that one needs for a call.
    pub(super) need: u64,
    /// What they hold already.
    pub(super) held: u64,
    /// What they and lower ones leave to higher ones.
    pub(super) kept: u64,
}

/// Divides `total` among `count` members, by priority: higher ones have what they want before lower ones get anything, and
/// lower ones leave what is kept for higher ones; within a priority as [`divide_in_turn`]. What nobody wants, and nobody has
/// to leave, is divided evenly on top. Returns also what each priority has to leave spare.
///
/// A call that needs more than there is beside what is kept may have some of that: else it would wait for ever.
pub(super) fn divide_by_priority(total: u64, all: &[Claims], count: usize) -> (Vec<u64>, Vec<u64>) {
    let mut given = vec![0; count];
    // What may be given from here on down; what was given so far, and what of that is held.
    let (mut left, mut above, mut held) = (total, 0, 0);
    let mut aside = 0;
    let mut asides = Vec::with_capacity(all.len());
    for (rank, claims) in all.iter().enumerate() {
        let need = all[rank..].iter().map(|claims| claims.need).max().unwrap_or(0);
        let kept = claims.kept.min(total.saturating_sub(need));
        left = left.min(total - kept);
        aside = aside.max(kept.max(above).saturating_sub(held));
        asides.push(aside);
        let wanted = claims.wants.iter().fold(0u64, |sum, want| sum.saturating_add(*want));
        let granted = left.min(wanted);
        let own = divide_in_turn(granted, &claims.wants, claims.first, claims.need);
        claims.places.iter().zip(own).for_each(|(&place, own)| given[place] = own);
        (left, above, held) = (left - granted, above + granted, held + claims.held);
    }
    let first = all.iter().find_map(|claims| claims.places.get(claims.first));
    let on_top = divide(left, &vec![0; count], first.copied().unwrap_or(0));
    given.iter_mut().zip(on_top).for_each(|(given, more)| *given += more);
    (given, asides)
}

/// The same as [`divide`], but `first`, whose turn it is, has at least what it needs.
fn divide_in_turn(total: u64, wants: &[u64], first: usize, need: u64) -> Vec<u64> {
    let mut given = divide(total, wants, first);
    let need = need.min(total);
    if given.get(first).is_some_and(|given| *given < need) {
        let others: Vec<u64> =
            wants.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, w)| *w).collect();
        let next = if others.is_empty() { 0 } else { first % others.len() };
        given = divide(total - need, &others, next);
        given.insert(first, need);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = u64::MAX;

    #[test]
    fn the_modest_get_what_they_want_and_the_others_the_same() {
        for (total, wants, first, given) in [
            (100, vec![ALL], 0, vec![100]),
            (100, vec![5], 0, vec![100]),
            (100, vec![ALL, ALL], 0, vec![50, 50]),
            (100, vec![10, ALL, ALL], 0, vec![10, 45, 45]),
            (100, vec![0, ALL, 60], 0, vec![0, 50, 50]),
            (100, vec![0, ALL, 30], 0, vec![0, 70, 30]),
            (100, vec![0, 10, 30], 1, vec![20, 30, 50]),
            (10, vec![ALL, ALL, ALL], 0, vec![4, 3, 3]),
            (11, vec![ALL, ALL, ALL], 2, vec![4, 3, 4]),
            (2, vec![ALL, ALL, ALL, 1], 3, vec![1, 0, 0, 1]),
            (0, vec![ALL, 0], 1, vec![0, 0]),
        ] {
            assert_eq!(divide(total, &wants, first), given, "{total} {wants:?} {first}");
        }
    }

    #[test]
    fn nothing_is_divided_twice_or_left() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let wants: Vec<u64> =
                (0..rng.usize(1..8)).map(|_| [rng.u64(..50), ALL][rng.usize(..2)]).collect();
            let (total, first) = (rng.u64(..200), rng.usize(..wants.len()));
            let need = [0, rng.u64(..250)][rng.usize(..2)];
            let given = divide_in_turn(total, &wants, first, need);
            assert_eq!(given.iter().sum::<u64>(), total, "{total} {wants:?} {first} {need}");
            assert!(given[first] >= need.min(total));
        }
    }

    /// By priority, wants; what the highest one holds and what is kept for it; what the others get and leave.
    #[test]
    fn the_higher_ones_come_first_and_find_what_is_kept_for_them() {
        let divided = |high: &[u64], low: &[u64], held: u64, kept: u64, need: u64| {
            let high =
                Claims { places: (0..high.len()).collect(), wants: high.to_vec(), held, ..Claims::default() };
            let places = (high.places.len()..high.places.len() + low.len()).collect();
            let low = Claims { places, wants: low.to_vec(), kept, need, ..Claims::default() };
            let count = high.places.len() + low.places.len();
            let (given, asides) = divide_by_priority(100, &[high, low], count);
            (given, asides[1])
        };
        assert_eq!(divided(&[30], &[ALL, ALL], 30, 0, 0), (vec![30, 35, 35], 0));
        assert_eq!(divided(&[30], &[ALL], 20, 0, 0), (vec![30, 70], 10), "ten are still to come");
        assert_eq!(divided(&[ALL], &[ALL], 60, 0, 0), (vec![100, 0], 40));
        assert_eq!(divided(&[], &[ALL], 0, 5, 0), (vec![95], 5));
        assert_eq!(divided(&[3], &[ALL], 1, 5, 0), (vec![3, 95], 4));
        assert_eq!(divided(&[8], &[ALL], 8, 5, 0), (vec![8, 92], 0));
        assert_eq!(divided(&[0], &[10], 0, 5, 0), (vec![43, 52], 5), "what nobody wants; five are kept");
        assert_eq!(divided(&[], &[ALL], 0, 5, 98), (vec![98], 2), "a call that needs so much");
        assert_eq!(divided(&[], &[ALL], 0, 5, 198), (vec![100], 0));
    }

    #[test]
    fn of_what_is_kept_nothing_goes_to_lower_ones() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..20_000 {
            let mut places = 0;
            let total = rng.u64(..200);
            let kept = [0, rng.u64(..20), rng.u64(20..60)];
            let claims: Vec<Claims> = kept
                .into_iter()
                .map(|kept| {
                    let count = rng.usize(..4);
                    let wants = (0..count).map(|_| [rng.u64(..60), ALL][rng.usize(..2)]).collect();
                    places += count;
                    let first = if count == 0 { 0 } else { rng.usize(..count) };
                    let places = (places - count..places).collect();
                    Claims { places, wants, first, need: 0, held: rng.u64(..100), kept }
                })
                .collect();
            let (given, asides) = divide_by_priority(total, &claims, places);
            let of = |rank: usize| claims[rank].places.iter().map(|&place| given[place]).sum::<u64>();
            assert!(given.iter().sum::<u64>() <= total, "{round}");
            assert!(of(1) + of(2) <= total.saturating_sub(kept[1]), "{round}");
            assert!(of(2) <= total.saturating_sub(kept[2]), "{round}");
            let wants =
                |rank: usize| claims[rank].wants.iter().fold(0u64, |sum, want| sum.saturating_add(*want));
            assert!(of(0) >= wants(0).min(total), "{round}");
            let spare = total - given.iter().sum::<u64>();
            assert!(places == 0 || spare <= kept[1].max(kept[2]), "{round}: {spare} {given:?}");
            assert!(asides[0] == 0 && asides[1] <= asides[2], "{round}");
        }
    }

    #[test]
    fn whose_turn_it_is_has_what_a_call_needs() {
        assert_eq!(divide_in_turn(10, &[ALL, ALL, ALL], 1, 8), [1, 8, 1]);
        assert_eq!(divide_in_turn(10, &[ALL, ALL, ALL], 1, 80), [0, 10, 0]);
        assert_eq!(divide_in_turn(10, &[ALL], 0, 8), [10]);
    }
}
