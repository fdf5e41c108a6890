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

/// The same, but `first`, whose turn it is, has at least what it needs.
pub(super) fn divide_in_turn(total: u64, wants: &[u64], first: usize, need: u64) -> Vec<u64> {
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

    #[test]
    fn whose_turn_it_is_has_what_a_call_needs() {
        assert_eq!(divide_in_turn(10, &[ALL, ALL, ALL], 1, 8), [1, 8, 1]);
        assert_eq!(divide_in_turn(10, &[ALL, ALL, ALL], 1, 80), [0, 10, 0]);
        assert_eq!(divide_in_turn(10, &[ALL], 0, 8), [10]);
    }
}
