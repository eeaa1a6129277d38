//! [`Faults`]: what `--faults` asks for, between the bot under test and its store, and at the simulated Discord.

use std::time::Duration;

use crate::army::spec::amount::{self, Span};
use crate::dynamo::faults::{Faults as StoreFaults, Rates};
use crate::sim::{Simulator, Weather};

/// What goes wrong in a run, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    store: Option<Store>,
    weather: Weather,
}

#[derive(Clone, Copy, Debug, Default)]
struct Store {
    rates: Rates,
    delay: Option<(Duration, Duration)>,
}

const STORE: &str = "throttle, conflict, fail, cut, lose_request, lose_reply, late, stale, delay";
const DISCORD: &str = "duplicate, reorder, cut, fail, lose_reply, rate_limit";

impl Faults {
    /// Reads `store.lose_reply=1%,store.delay=5ms..50ms,discord.duplicate=1%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let (name, amount) =
                one.split_once('=').ok_or_else(|| format!("`{one}` says not how much: {one}=1%"))?;
            match name.trim().split_once('.') {
                Some(("store", kind)) => faults.store.get_or_insert_default().add(kind, amount)?,
                Some(("discord", kind)) => faults.at_discord(kind, amount)?,
                _ => return Err(format!("`{name}` is no fault: store.{{{STORE}}}, discord.{{{DISCORD}}}")),
            }
        }
        Ok(faults)
    }

    fn at_discord(&mut self, kind: &str, amount: &str) -> Result<(), String> {
        let weather = &mut self.weather;
        let place = match kind {
            "duplicate" => &mut weather.duplicate,
            "reorder" => &mut weather.reorder,
            "cut" => &mut weather.cut,
            "fail" => &mut weather.fail,
            "lose_reply" => &mut weather.lose_reply,
            "rate_limit" => &mut weather.rate_limit,
            _ => return Err(format!("discord.{kind} is no fault: {DISCORD}")),
        };
        *place = share(amount)?;
        Ok(())
    }

    /// From now on requests to the store meet what the seed says.
    pub fn on_store(&self, faults: &StoreFaults, seed: u64) {
        if let Some(store) = self.store {
            faults.plan(seed, store.rates);
            faults.set_slow_between(store.delay);
        }
    }

    pub fn on_discord(&self, simulator: &Simulator) {
        simulator.faults().weather(self.weather);
    }

    pub fn touch_the_store(&self) -> bool {
        self.store.is_some()
    }
}

impl Store {
    fn add(&mut self, kind: &str, amount: &str) -> Result<(), String> {
        if kind == "delay" {
            let span =
                Span::parse(amount.trim()).ok_or_else(|| format!("`{amount}` is no time: 5ms..50ms"))?;
            self.delay = Some((Duration::from_secs_f64(span.low), Duration::from_secs_f64(span.high)));
            return Ok(());
        }
        let rates = &mut self.rates;
        let place = match kind {
            "throttle" => &mut rates.throttle,
            "conflict" => &mut rates.conflict,
            "fail" => &mut rates.fail,
            "cut" => &mut rates.cut,
            "lose_request" => &mut rates.lose_request,
            "lose_reply" => &mut rates.lose_reply,
            "late" => &mut rates.arrive_late,
            "stale" => &mut rates.stale,
            _ => return Err(format!("store.{kind} is no fault: {STORE}")),
        };
        // Shares of a thousand; what was asked for is not rounded to never.
        *place = (share(amount)? * 1_000.0).ceil() as u32;
        Ok(())
    }
}

fn share(text: &str) -> Result<f64, String> {
    amount::share(text.trim()).ok_or_else(|| format!("`{text}` is no share: 1%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_or_named() {
        let faults =
            Faults::parse("store.lose_reply=1%, store.delay=5ms..50ms,discord.duplicate=0.5%").unwrap();
        let store = faults.store.unwrap();
        assert_eq!(store.rates.lose_reply, 10);
        assert_eq!(store.delay, Some((Duration::from_millis(5), Duration::from_millis(50))));
        assert_eq!(faults.weather.duplicate, 0.005);
        assert!(!Faults::parse("").unwrap().touch_the_store());
        for wrong in [
            "store.eat=1%",
            "discord.sleep=1%",
            "bot.cut=1%",
            "store.cut",
            "store.cut=often",
            "store.delay=x",
        ] {
            assert!(Faults::parse(wrong).is_err(), "{wrong}");
        }
    }
}
