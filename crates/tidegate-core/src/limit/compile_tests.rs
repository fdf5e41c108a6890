use std::num::NonZeroU64;

use super::*;

fn limit(text: &str) -> Limit {
    text.parse().unwrap()
}

fn meter(text: &str) -> Meter {
    limit(text).compile(&Terms::default()).unwrap()
}

#[test]
fn a_window_is_held_strictly_longer_than_it_is() {
    let Meter::Hold(hold) = meter("100/6s") else { panic!() };
    assert_eq!(hold.units(), 100);
    assert_eq!(hold.hold(), Duration::from_nanos(6_002_200_200));
    let wide = limit("100/6s").with_granularity(Duration::from_secs(1)).with_skew(Duration::from_millis(50));
    let Ok(Meter::Hold(hold)) = wide.compile(&Terms::default()) else { panic!() };
    assert_eq!(hold.hold(), Duration::from_micros(7_051_410));
}

#[test]
fn a_bucket_never_gets_more_than_its_capacity_nor_a_higher_rate() {
    for capacity in 1..200u64 {
        for rate in [1u64, 7, 50, 1_000, 30_000] {
            let text = format!("{rate}/s bucket {capacity}");
            let interval = Duration::from_secs(1).div_f64(rate as f64);
            match meter(&text) {
                Meter::Hold(hold) => {
                    assert_eq!(hold.units(), capacity);
                    assert!(hold.hold() > interval.mul_f64(capacity as f64), "{text}");
                }
                Meter::Pace(pace) => {
                    assert_eq!(pace.capacity(), capacity);
                    assert!(pace.interval() >= interval, "{text}");
                }
                Meter::Epoch(_) => panic!(),
            }
        }
    }
}

#[test]
fn a_counter_gives_up_what_is_in_flight() {
    for (text, least) in
        [("10/min", 0.79), ("100/min", 0.94), ("1000/s", 0.86), ("1000/min", 0.98), ("2/s", 0.45)]
    {
        for how in ["counter", "unknown"] {
            let limit = limit(&format!("{text} {how}"));
            let meter = limit.compile(&Terms::default()).unwrap();
            let Meter::Pace(pace) = &meter else { panic!() };
            let in_a_window = limit.rule().per().unwrap().as_secs_f64() / pace.interval().as_secs_f64();
            assert!(in_a_window + pace.capacity() as f64 <= limit.amount() as f64 + 1e-6, "{text}");
            let share =
                limit.provable_rate(&meter, Duration::from_millis(100)) / limit.nominal_rate().unwrap();
            assert!(share > least, "{text}: {share}");
        }
    }
    assert!(matches!(meter("1/s counter"), Meter::Hold(hold) if hold.hold() > Duration::from_secs(2)));
    let whole = limit("5/s counter").with_cost(NonZeroU64::new(5).unwrap()).compile(&Terms::default());
    assert!(matches!(whole, Ok(Meter::Hold(hold)) if hold.units() == 5));
}

#[test]
fn large_steps_of_refill_are_held_to_whole_steps() {
    let Meter::Hold(hold) = meter("10/s bucket 10 step 1s") else { panic!() };
    assert_eq!((hold.units(), hold.hold().as_millis()), (10, 1_001));
    let Meter::Hold(hold) = meter("10/s bucket 12 step 1s") else { panic!() };
    assert_eq!((hold.units(), hold.hold().as_millis()), (12, 2_001));
    assert!(matches!(meter("50/s bucket 20 step 100ms"), Meter::Pace(_)));
}

#[test]
fn what_may_be_enforced_per_second_is_stacked() {
    let parts = |text: &str| limit(text).parts().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(parts("6000/min also per second"), ["6000/min", "100/s"]);
    assert_eq!(parts("30/min also per second"), ["30/min", "1/2s"]);
    assert_eq!(parts("100/s also per second"), ["100/s"]);
}

#[test]
fn an_assumption_gains_what_answers_cost() {
    let terms =
        Terms { mode: Mode::Estimated { counted_within: Duration::from_millis(30) }, ..Terms::default() };
    for (text, least) in [("1000/s", 0.968), ("1000/s counter", 0.95), ("50/s bucket 10", 0.999)] {
        let limit = limit(text);
        let rate = limit.provable_rate(&limit.compile(&terms).unwrap(), Duration::from_millis(500));
        assert!(rate / limit.nominal_rate().unwrap() > least, "{text}: {rate}");
    }
    // A bucket that is smaller than what is in flight for so long keeps the proof without it.
    let tiny = limit("50/s bucket 1").compile(&terms).unwrap();
    assert!(matches!(tiny, Meter::Hold(_)));
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let heavy =
        |text: &str, cost| limit(text).with_cost(NonZeroU64::new(cost).unwrap()).compile(&Terms::default());
    assert!(matches!(heavy("10/s", 11), Err(LimitError::CostTooLarge { greatest: 10, .. })));
    assert!(matches!(heavy("50/s bucket 10", 11), Err(LimitError::CostTooLarge { .. })));
    assert!(heavy("50/s bucket 10", 10).is_ok());
    assert!(heavy("50/s bucket 10", 2).is_ok());
    assert!(matches!(limit("10/day UTC").compile(&Terms::default()), Err(LimitError::NoWallClock { .. })));
    let twice = limit("1/s").amplified(NonZeroU64::new(2).unwrap());
    assert!(matches!(twice.compile(&Terms::default()), Err(LimitError::AmplifiedAway { times: 2, .. })));
    let Ok(Meter::Hold(hold)) =
        limit("9/s").amplified(NonZeroU64::new(2).unwrap()).compile(&Terms::default())
    else {
        panic!()
    };
    assert_eq!(hold.units(), 4);
}
