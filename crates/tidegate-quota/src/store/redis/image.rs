//! Pools as they stand on a server: decimal numbers, as the scripts write them (`lua/pool.lua`, `lua/member.lua`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::{Allotment, Demand, MemberId, Part, Pool, Priority, Time};

use super::frame::{Frame, NEVER, micros};
use super::server::Fields;

/// The fields of a pool's own: its numbers, ids that are over, and what was found to be fair among many.
const HEAD: &str = "pool.2";
const BURIED: &str = "buried";
const SHARES: &str = "shares";

/// A pool's form for stores, field by field.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    now: Time,
    whole: Vec<u64>,
    spare: Vec<Part>,
    members: Vec<MemberImage>,
    turns: [Option<TurnImage>; 3],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shares: Option<SharesImage>,
    buried: Vec<(Time, MemberId)>,
    paused_until: Time,
    resumes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberImage {
    id: MemberId,
    until: Time,
    timeout: Duration,
    held: Vec<u64>,
    latest: Vec<Time>,
    resting: Vec<Vec<(Time, u64)>>,
    demand: Vec<Demand>,
    priority: Priority,
    granted: u64,
    seq: u64,
    answer: Allotment,
    resized: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnImage {
    member: MemberId,
    since: Time,
    granted: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharesImage {
    at: Time,
    targets: Vec<(MemberId, Vec<u64>)>,
    asides: Vec<Vec<u64>>,
}

/// A pool's two hashes, as fields with their texts.
pub(super) struct Written {
    pub(super) pool: Vec<(String, String)>,
    pub(super) holders: Vec<(String, String)>,
}

pub(super) fn write(pool: &Pool, frame: Frame) -> Result<Written, serde_json::Error> {
    let image: Image = serde_json::from_value(serde_json::to_value(pool)?)?;
    let mut head = Words::new(frame);
    head.time(image.now);
    head.time(image.paused_until);
    head.number(image.resumes);
    for turn in image.turns {
        match turn {
            Some(turn) => {
                head.number(turn.member.0);
                head.time(turn.since);
                head.number(turn.granted);
            }
            None => [0, 0, 0].into_iter().for_each(|none| head.number(none)),
        }
    }
    head.number(image.members.len() as u64);
    // When the first of them can be over: the script looks at all of them for that at once.
    head.number(0);
    head.time(image.shares.as_ref().map_or(Time::ZERO, |shares| shares.at));
    head.number(image.whole.len() as u64);
    for (i, (whole, spare)) in image.whole.iter().zip(&image.spare).enumerate() {
        head.number(*whole);
        head.number(image.members.iter().map(|member| member.held[i]).sum());
        head.number(spare.units);
        head.dates(&merged(&spare.dated, frame));
    }
    let mut buried = Words::new(frame);
    for (since, id) in &image.buried {
        buried.time(*since);
        buried.number(id.0);
    }
    let mut pool = vec![(HEAD.to_owned(), head.text), (BURIED.to_owned(), buried.text)];
    if let Some(SharesImage { targets, asides, .. }) = &image.shares {
        let mut left = Words::new(frame);
        asides.iter().flatten().for_each(|units| left.number(*units));
        let numbers = |(id, targets): &(MemberId, Vec<u64>)| {
            let mut words = Words::new(frame);
            [id.0].iter().chain(targets).for_each(|number| words.number(*number));
            format!(";{}", words.text)
        };
        let shares = left.text + &targets.iter().map(numbers).collect::<String>();
        pool.push((SHARES.to_owned(), shares));
    }
    let mut holders = Vec::new();
    for member in &image.members {
        let mut sum = Words::new(frame);
        sum.time(member.until);
        sum.number(micros(member.timeout));
        sum.number(member.priority.rank() as u64);
        sum.number(member.granted);
        for i in 0..image.whole.len() {
            sum.number(member.held[i]);
            sum.number(member.demand[i].units);
            sum.number(member.demand[i].need);
        }
        pool.push((member.id.0.to_string(), sum.text));
        let mut words = Words::new(frame);
        words.time(member.until);
        words.number(micros(member.timeout));
        words.number(member.seq);
        words.number(member.priority.rank() as u64);
        words.number(member.granted);
        words.number(u64::from(member.resized));
        for i in 0..image.whole.len() {
            words.number(member.held[i]);
            words.time(member.latest[i]);
            words.number(member.demand[i].units);
            words.number(member.demand[i].need);
            words.dates(&member.resting[i]);
        }
        let answer = &member.answer;
        words.time(answer.until);
        words.time(answer.paused_until);
        words.number(answer.resumes);
        words.number(answer.parts.len() as u64);
        for (part, target) in answer.parts.iter().zip(&answer.targets) {
            words.number(*target);
            words.number(part.units);
            words.dates(&part.dated);
        }
        holders.push((member.id.0.to_string(), words.text));
    }
    Ok(Written { pool, holders })
}

/// A pool from its two hashes; `None` if they are not understood.
pub(super) fn read(pool: &Fields, holders: &Fields, frame: Frame) -> Option<Pool> {
    let mut head = Numbers::new(pool.get(HEAD)?, frame);
    let (now, paused_until, resumes) = (head.time()?, head.time()?, head.number()?);
    let mut turns = [None, None, None];
    for turn in &mut turns {
        let image =
            TurnImage { member: MemberId(head.number()?), since: head.time()?, granted: head.number()? };
        *turn = (image.member.0 != 0).then_some(image);
    }
    let (members, _next_over, shares_at) = (head.number()?, head.number()?, head.number()?);
    let mut image = Image {
        now,
        whole: Vec::new(),
        spare: Vec::new(),
        members: Vec::new(),
        turns,
        shares: None,
        buried: Vec::new(),
        paused_until,
        resumes,
    };
    let limits = usize::try_from(head.number()?).ok()?;
    let mut sums = Vec::new();
    for _ in 0..limits {
        image.whole.push(head.number()?);
        sums.push(head.number()?);
        image.spare.push(Part { units: head.number()?, dated: head.dates()? });
    }
    let mut buried = Numbers::new(pool.get(BURIED).map_or("", String::as_str), frame);
    while let Some(since) = buried.time() {
        image.buried.push((since, MemberId(buried.number()?)));
    }
    if shares_at > 0 {
        let mut shares = pool.get(SHARES)?.split(';');
        let mut left = Numbers::new(shares.next()?, frame);
        let asides = Priority::ALL.map(|_| (0..limits).map(|_| left.number()).collect::<Option<_>>());
        let asides = asides.into_iter().collect::<Option<_>>()?;
        let shares = shares.map(|text| {
            let mut words = Numbers::new(text, frame);
            let id = MemberId(words.number()?);
            Some((id, (0..limits).map(|_| words.number()).collect::<Option<Vec<u64>>>()?))
        });
        let targets = shares.collect::<Option<_>>()?;
        image.shares = Some(SharesImage { at: frame.time(shares_at), targets, asides });
    }
    for (id, text) in holders {
        image.members.push(member(id, &mut Numbers::new(text, frame), limits)?);
    }
    let sum = |i: usize| image.members.iter().map(|member| member.held[i]).sum::<u64>();
    if members != image.members.len() as u64 || (0..limits).any(|i| sum(i) != sums[i]) {
        return None;
    }
    image.members.sort_by_key(|member| member.id);
    serde_json::from_value(serde_json::to_value(&image).ok()?).ok()
}

fn member(id: &str, words: &mut Numbers, limits: usize) -> Option<MemberImage> {
    let mut member = MemberImage {
        id: MemberId(id.parse().ok()?),
        until: words.time()?,
        timeout: Duration::from_micros(words.number()?),
        seq: words.number()?,
        priority: *Priority::ALL.get(usize::try_from(words.number()?).ok()?)?,
        granted: words.number()?,
        resized: words.number()? != 0,
        held: Vec::new(),
        latest: Vec::new(),
        resting: Vec::new(),
        demand: Vec::new(),
        answer: Allotment::default(),
    };
    for _ in 0..limits {
        member.held.push(words.number()?);
        member.latest.push(words.time()?);
        let (units, need) = (words.number()?, words.number()?);
        let units = if units >= NEVER { u64::MAX } else { units };
        member.demand.push(Demand { units, need });
        member.resting.push(words.dates()?);
    }
    let answer = &mut member.answer;
    (answer.until, answer.paused_until, answer.resumes) = (words.time()?, words.time()?, words.number()?);
    for _ in 0..words.number()? {
        answer.targets.push(words.number()?);
        answer.parts.push(Part { units: words.number()?, dated: words.dates()? });
    }
    Some(member)
}

/// Dates that are the same to a microsecond are one.
fn merged(dates: &[(Time, u64)], frame: Frame) -> Vec<(Time, u64)> {
    let mut merged: Vec<(Time, u64)> = Vec::with_capacity(dates.len());
    for &(at, units) in dates {
        match merged.last_mut().filter(|last| frame.micros(last.0) == frame.micros(at)) {
            Some(last) => last.1 += units,
            None => merged.push((at, units)),
        }
    }
    merged
}

/// Numbers to be written.
pub(super) struct Words {
    pub(super) text: String,
    frame: Frame,
}

impl Words {
    pub(super) fn new(frame: Frame) -> Self {
        Self { text: String::new(), frame }
    }

    pub(super) fn number(&mut self, number: u64) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&number.min(NEVER).to_string());
    }

    fn time(&mut self, time: Time) {
        self.number(self.frame.micros(time));
    }

    fn dates(&mut self, dates: &[(Time, u64)]) {
        self.number(dates.len() as u64);
        for (at, units) in dates {
            self.time(*at);
            self.number(*units);
        }
    }
}

/// Numbers that were written.
pub(super) struct Numbers {
    numbers: std::vec::IntoIter<u64>,
    frame: Frame,
}

impl Numbers {
    pub(super) fn new(text: &str, frame: Frame) -> Self {
        let numbers: Vec<u64> = text.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        Self { numbers: numbers.into_iter(), frame }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.numbers.next()
    }

    fn time(&mut self) -> Option<Time> {
        self.number().map(|micros| self.frame.time(micros))
    }

    fn dates(&mut self) -> Option<Vec<(Time, u64)>> {
        let count = self.number()?;
        (0..count).map(|_| Some((self.time()?, self.number()?))).collect()
    }
}
