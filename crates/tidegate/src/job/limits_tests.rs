use super::*;
use crate::job::JobFile;

fn file(text: &str) -> Result<QuotaSection, JobError> {
    let job: JobFile = toml::from_str(text)
        .map_err(|error| JobError::File { path: "job.toml".into(), message: error.to_string() })?;
    Ok(job.quota)
}

fn table(fields: &str) -> Result<Limit, JobError> {
    let mut limits = limits(&file(&format!("[[quota.limit]]\n{fields}"))?, false)?;
    Ok(limits.remove(0).0)
}

/// What is said of a table that cannot be, with its hint.
#[track_caller]
fn refused(fields: &str) -> String {
    let error = table(fields).expect_err(fields);
    format!("{error}\n{}", error.hint().expect("a hint"))
}

#[test]
fn a_table_says_what_the_short_form_says_and_more() {
    for (fields, text) in [
        ("amount = 1000\nper = \"s\"", "1000/s"),
        ("rate = \"1000/s\"\nenforced = \"window\"", "1000/s"),
        ("amount = 1000\nper = \"s\"\nenforced = \"counter\"", "1000/s counter"),
        ("rate = \"1000/s\"\nenforced = \"counter\"", "1000/s counter"),
        ("rate = \"1000/s counter\"\nenforced = \"counter\"", "1000/s counter"),
        ("amount = 7\nper = \"min\"\nenforced = \"unknown\"", "7/min unknown"),
        ("rate = \"50/s\"\ncapacity = 10", "50/s bucket 10"),
        ("rate = \"50/s bucket 10\"\nenforced = \"bucket\"", "50/s bucket 10"),
        (
            "amount = 50\nper = \"s\"\nenforced = \"bucket\"\ncapacity = 10\nstep = \"100ms\"",
            "50/s bucket 10 step 100ms",
        ),
        (
            "amount = 10\nper = \"day\"\nenforced = \"calendar\"\nzone = \"Europe/Berlin\"",
            "10/day Europe/Berlin",
        ),
        ("rate = \"10/week\"\nzone = \"utc\"", "10/week UTC"),
        ("rate = \"6000/min\"\nalso_per_second = true", "6000/min also per second"),
        ("rate = \"6000/min also per second\"", "6000/min also per second"),
        ("amount = 20\nenforced = \"concurrency\"\nlinger = \"50ms\"", "concurrency 20"),
        ("rate = \"2M tokens/min\"\nrefund = true\ncost = 9", "2000000 tokens/min"),
    ] {
        let limit = table(fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(limit.to_string(), text, "{fields}");
    }
    let declared = table("rate = \"9/s\"\namplification = 2\ngranularity = \"1s\"\nskew = 0.05").unwrap();
    let by_hand = "9/s".parse::<Limit>().unwrap().amplified(NonZeroU64::new(2).unwrap());
    let by_hand = by_hand.with_granularity(Duration::from_secs(1)).with_skew(Duration::from_millis(50));
    assert_eq!(declared, by_hand);
    let linger = table("amount = 20\nenforced = \"concurrency\"\nlinger = \"50ms\"").unwrap();
    assert_eq!(linger.rule(), &Rule::Concurrency { linger: Duration::from_millis(50) });
    assert!(table("rate = \"2M tokens/min\"\nrefund = true\ncost = 9").unwrap().refunds());
}

#[test]
fn fields_that_do_not_go_together() {
    const WINDOW: &str = "rate = \"10/s\"\nenforced = \"window\"\n";
    const AT_A_TIME: &str = "amount = 20\nenforced = \"concurrency\"\n";
    const CALENDAR: &str = "rate = \"10/day\"\nzone = \"UTC\"\n";
    for (fields, said) in [
        (format!("{WINDOW}zone = \"UTC\""), "enforced = \"calendar\""),
        (format!("{WINDOW}capacity = 10"), "enforced = \"bucket\""),
        (format!("{WINDOW}step = \"1s\""), "enforced = \"bucket\""),
        (format!("{WINDOW}linger = \"5ms\""), "calls at a time"),
        (format!("{WINDOW}refund = true"), "such as \"tokens\""),
        (format!("{WINDOW}amplification = 0"), "2 if a gateway"),
        (format!("{WINDOW}unit = \"tokens\""), "40k tokens/min"),
        (format!("{WINDOW}per = \"s\""), "40k tokens/min"),
        (format!("{WINDOW}granularity = \"fine\""), "not a duration"),
        ("rate = \"10/s\"\nstep = \"1s\"".into(), "enforced = \"bucket\""),
        ("rate = \"10/s\"\nenforced = \"bucket\"".into(), "needs its `capacity`"),
        (
            "rate = \"10/day\"\nenforced = \"bucket\"\ncapacity = 1\nzone = \"UTC\"".into(),
            "`zone` does not go",
        ),
        ("rate = \"10/day\"\ncapacity = 10\nzone = \"UTC\"".into(), "either `capacity` or `zone`"),
        ("rate = \"10/day\"\nenforced = \"calendar\"".into(), "needs its `zone`"),
        ("rate = \"10/day\"\nenforced = \"calendar\"\nzone = \"CET\"".into(), "\"Europe/Berlin\""),
        ("rate = \"10/day\"\nzone = \"Europe/Atlantis\"".into(), "not a time zone"),
        ("rate = \"10/min\"\nzone = \"UTC\"".into(), "goes with day, week or month"),
        (format!("{CALENDAR}skew = \"1s\""), "leave it away"),
        (format!("{CALENDAR}capacity = 3"), "either `capacity` or `zone`"),
        (format!("{AT_A_TIME}granularity = \"1s\""), "without a clock"),
        (format!("{AT_A_TIME}also_per_second = true"), "have no rate"),
        (format!("{AT_A_TIME}per = \"s\""), "say it all"),
        (format!("{AT_A_TIME}unit = \"tokens\""), "say it all"),
        (format!("{AT_A_TIME}capacity = 3"), "enforced = \"bucket\""),
        ("rate = \"10/s\"\nenforced = \"concurrency\"".into(), "is a rate"),
        ("rate = \"50/s bucket 10\"\ncapacity = 20".into(), "say it in one place"),
        ("rate = \"50/s bucket 10\"\nenforced = \"counter\"".into(), "say it in one place"),
        ("rate = \"10/day UTC\"\nzone = \"Europe/Berlin\"".into(), "say it in one place"),
        ("rate = \"10/s\"\namount = 10".into(), "rate = \"1000/s\""),
        ("enforced = \"window\"".into(), "rate = \"1000/s\""),
        ("amount = 10".into(), "per = \"min\""),
        ("amount = 0\nper = \"s\"".into(), "smallest is 1"),
        ("amount = 10\nper = \"s\"\ncapacity = 0".into(), "smallest is 1"),
        ("amount = 10\nper = \"s\"\ncapacity = 5\nstep = \"0s\"".into(), "window's length"),
    ] {
        let Err(error) = table(&fields) else { panic!("{fields} is taken") };
        let said_of_it = format!("{error}\n{}", error.hint().unwrap_or_default());
        assert!(said_of_it.contains(said), "{fields}:\n{said_of_it}");
    }
}

#[test]
fn words_of_others_get_the_right_one() {
    for (word, right) in [
        ("gcra", "enforced = \"bucket\""),
        ("leaky_bucket", "enforced = \"bucket\""),
        ("token bucket", "enforced = \"bucket\""),
        ("Sliding", "`100/min counter`"),
        ("sliding-window-counter", "enforced = \"counter\""),
        ("fixed", "enforced = \"window\""),
        ("daily", "zone = \"UTC\""),
        ("whatever", "\"unknown\""),
    ] {
        let said = refused(&format!("rate = \"10/s\"\nenforced = \"{word}\""));
        assert!(said.contains("not a way to enforce") && said.contains(right), "{word}: {said}");
    }
    for (key, right) in
        [("tz = \"UTC\"", "`zone`"), ("burst = 10", "`capacity`"), ("algorithm = 1", "`enforced`")]
    {
        assert!(refused(key).ends_with(&format!("is called {right} here")), "{key}: {}", refused(key));
    }
    for (text, right) in [
        ("1000/s gcra", "50/s bucket 10"),
        ("1000/s leaky", "50/s bucket 10"),
        ("100/min sliding window", "100/min counter"),
        ("10k/day tz Europe/Berlin", "10k/day UTC"),
        ("fixed 100/6s", "any phase"),
        ("10", "--head 10"),
    ] {
        let said = refused(&format!("rate = \"{text}\""));
        assert!(said.contains(right), "{text}: {said}");
    }
}

#[test]
fn an_estimate_names_what_it_rests_on() {
    let mode = |fields: &str| mode(&file(&format!("[quota]\n{fields}")).unwrap());
    assert_eq!(mode("").unwrap(), Mode::Guaranteed);
    let estimated = Mode::Estimated { counted_within: Duration::from_millis(30) };
    assert_eq!(mode("counted_within = \"30ms\"").unwrap(), estimated);
    assert_eq!(mode("mode = \"estimated\"\ncounted_within = 0.03").unwrap(), estimated);
    for (fields, hint) in [
        ("mode = \"estimated\"", "counted_within = \"30ms\""),
        ("mode = \"guaranteed\"\ncounted_within = \"30ms\"", "mode = \"estimated\""),
        ("counted_within = 0", "such as \"30ms\""),
    ] {
        assert!(mode(fields).unwrap_err().hint().unwrap().contains(hint), "{fields}");
    }
}

/// Whether limits are learnt, of a `[quota]` and a store.
fn learnt(fields: &str, store: &StoreSpec) -> Result<bool, JobError> {
    let quota = file(&format!("[quota]\n{fields}"))?;
    let limits: Vec<Limit> = limits(&quota, false)?.into_iter().map(|(limit, _)| limit).collect();
    learns(&quota, &limits, store)
}

#[test]
fn limits_are_learnt_where_none_is_declared_and_nobody_shares_them() {
    let memory = StoreSpec::Memory;
    for (fields, is_learnt) in [
        ("limits = [\"auto\"]", true),
        ("limits = [\" Auto \"]\nconcurrency = 5", true),
        ("limits = [\"5/s\"]", false),
        ("", false),
    ] {
        assert_eq!(learnt(fields, &memory).unwrap(), is_learnt, "{fields}");
    }
    for fields in [
        "limits = [\"auto\", \"5/s\"]",
        "limits = [\"auto\"]\ntpm = 1000",
        "limits = [\"auto\", \"9/day UTC\"]",
    ] {
        let error = learnt(fields, &memory).expect_err(fields);
        assert!(error.to_string().contains("is the limit to be learnt, or is it known?"), "{error}");
    }
    let error = learnt("limits = [\"auto\"]", &StoreSpec::Sqlite(None)).unwrap_err();
    assert!(error.to_string().contains("no store shares it") && error.hint().is_some(), "{error}");
}
