//! Members of several priorities.

use super::*;

fn reserving(limit: &str, reserve: &str) -> Contract {
    let terms = Terms { reserve: reserve.parse().unwrap(), ..Terms::default() };
    Contract::new(&[limit.parse().unwrap()], Pacing::Burst, terms).unwrap()
}

/// Processes that exchange four times a second and send what they may, each millisecond.
struct Crowd {
    contract: Contract,
    pool: Pool,
    members: Vec<Client>,
    ids: u64,
    now: Time,
}

impl Crowd {
    fn new(contract: Contract, members: &[Priority]) -> Self {
        let pool = Pool::new(&contract);
        let mut crowd = Self { contract, pool, members: Vec::new(), ids: 0, now: ms(0) };
        for priority in members {
            let member = crowd.comer(*priority);
            crowd.members.push(member);
        }
        crowd
    }

    fn comer(&mut self, priority: Priority) -> Client {
        self.ids += 1;
        Client { priority, ..Client::new(&self.contract, MemberId(self.ids)) }
    }

    /// Lets so much time pass; what each has sent.
    fn run(&mut self, millis: u64) -> Vec<u64> {
        let mut sent = vec![0; self.members.len()];
        for _ in 0..millis {
            self.now = self.now + Duration::from_millis(1);
            let step = self.now.as_nanos() / 1_000_000;
            for (i, member) in self.members.iter_mut().enumerate() {
                if step % 250 == i as u64 * 7 % 250 {
                    self.pool.expire(&self.contract, self.now);
                    member.exchange(&mut self.pool, self.now);
                }
                sent[i] += member.send(1, self.now);
            }
        }
        sent
    }

    /// One call of a process that comes, and goes when it is answered after half a second; how long it waits for it, in
    /// milliseconds, and what the others send meanwhile.
    fn call_once(&mut self, priority: Priority) -> (u64, u64) {
        let mut sent = 0;
        let mut comer = self.comer(priority);
        let _ = comer.why(self.now);
        let costs = *self.contract.costs();
        let mut waited = None;
        for step in 0..100_000 {
            if step % 250 == 0 {
                comer.exchange(&mut self.pool, self.now);
            }
            if waited.is_none()
                && let Decision::Grant(grant) = comer.quota.take(&costs, self.now)
            {
                waited = Some((step, grant));
            }
            if let Some((waited, grant)) = waited.take_if(|(waited, _)| *waited + 500 <= step) {
                comer.quota.settle(grant, Outcome::Answered, self.now);
                comer.targets = vec![0];
                let report = comer.report(self.now);
                self.pool.leave(&self.contract, comer.id, &report, self.now);
                return (waited, sent);
            }
            sent += self.run(1).iter().sum::<u64>();
        }
        panic!("it waits for ever");
    }
}

#[test]
fn the_highest_have_all_and_the_lower_ones_the_rest() {
    let mut crowd =
        Crowd::new(reserving("100/s", "high=0%"), &[Priority::Low, Priority::Normal, Priority::High]);
    crowd.run(5_000);
    let sent = crowd.run(10_000);
    assert!(sent[2] > 980 && sent[0] == 0 && sent[1] == 0, "{sent:?}");
    crowd.members.pop();
    // Its lease and its calls have to be over first.
    crowd.run(40_000);
    let sent = crowd.run(10_000);
    assert!(sent[1] > 980 && sent[0] == 0, "{sent:?}");
}

#[test]
fn of_one_priority_each_has_the_same() {
    let mut crowd = Crowd::new(reserving("100/s", "high=0%"), &[Priority::Low; 4]);
    crowd.run(5_000);
    let sent = crowd.run(10_000);
    assert!(sent.iter().all(|sent| (240..=260).contains(sent)), "{sent:?}");
}

#[test]
fn who_comes_first_finds_what_is_kept_for_it() {
    for (limit, most) in [("100/s", 950), ("100/s bucket 100", 950), ("1000/s", 9_500), ("20/s", 190)] {
        let mut crowd = Crowd::new(reserving(limit, "high=5%"), &[Priority::Low; 3]);
        crowd.run(5_000);
        let low: u64 = crowd.run(10_000).iter().sum();
        assert!(low <= most + 10 && low > most * 97 / 100, "{limit}: {low}");
        // Now and then somebody else calls.
        let mut waits = Vec::new();
        for round in 0..40 {
            crowd.run(1_100 + round * 37 % 250);
            // Whoever takes what is spare leaves what is free.
            crowd.call_once(Priority::Low);
            waits.push(crowd.call_once(Priority::High).0);
        }
        assert!(waits.iter().all(|wait| *wait <= 1), "{limit}: {waits:?}");
        let low: u64 = crowd.run(10_000).iter().sum();
        assert!(low > most * 97 / 100, "{limit}: {low}");
    }
}

#[test]
fn a_call_now_and_then_does_not_stop_the_others() {
    for limit in ["1000/s", "100/s"] {
        let mut crowd = Crowd::new(reserving(limit, "high=0%"), &[Priority::Low; 3]);
        let full: u64 = {
            crowd.run(5_000);
            crowd.run(20_000).iter().sum()
        };
        let mut waits = Vec::new();
        let (mut low, began) = (0, crowd.now);
        for _ in 0..20 {
            low += crowd.run(1_000).iter().sum::<u64>();
            let (wait, sent) = crowd.call_once(Priority::High);
            low += sent;
            waits.push(wait);
        }
        let part = low as f64 / full as f64 * 20.0 / crowd.now.since(began).as_secs_f64();
        assert!(part > 0.9, "{limit}: {part} {waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 1_300), "{limit}: {waits:?}");
    }
}

#[test]
fn a_call_that_is_too_large_for_the_rest_waits_for_what_is_kept() {
    let contract = reserving("100 tokens/s", "high=5%");
    let mut pool = Pool::new(&contract);
    let mut low = Client { priority: Priority::Low, ..Client::new(&contract, ONE) };
    let mut costs = *contract.costs();
    costs.set(0, 98);
    let mut waited = 0;
    while matches!(low.quota.take(&costs, ms(waited)), Decision::Wait(_)) {
        low.exchange(&mut pool, ms(waited));
        waited += 250;
        assert!(waited < 10_000);
    }
}
