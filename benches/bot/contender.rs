//! A process under measurement, on a simulated Discord that takes the times.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mneme::sim::{Act, Simulator, World};
use mneme::tasks::Tasks;

/// Processor time is counted in these: `sysconf(_SC_CLK_TCK)` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process: fields 14 and 15 of `/proc/<id>/stat`.
pub fn processor_time(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Resident memory in MiB.
pub fn memory(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(kib / 1_024.0)
}

/// A process under measurement, on the simulated Discord.
pub struct Contender {
    pub process: Child,
    pub simulator: Simulator,
    /// Who sees it come and go.
    person: u64,
    tasks: Tasks,
    /// From the start of the process to READY.
    pub start: Duration,
}

/// Starts a process and waits until `person` sees it online; and how long that took.
async fn join(mut command: Command, simulator: &Simulator, person: u64) -> anyhow::Result<(Child, Duration)> {
    let mut seen = simulator.watch(person);
    command.env("DISCORD_TOKEN", simulator.token()).env("DISCORD_API_URL", simulator.url());
    let began = Instant::now();
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while !simulator.read(World::bot_online) {
        seen.next().await;
    }
    Ok((process, began.elapsed()))
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.tasks.stop();
    }
}

/// What one round showed.
#[derive(Clone, Copy, Default)]
pub struct Round {
    /// Processor time for each command, in microseconds.
    pub processor: f64,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Contender {
    /// Starts it with a world that has no rate limits, and waits until `person`, who shares a server with it, sees
    /// it online.
    pub async fn start(command: Command, mut world: World, person: u64) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        world.settings.rate_limits = false;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let simulator = Simulator::start(world, address, &tasks).await?;
        let (process, start) = join(command, &simulator, person).await?;
        Ok(Self { process, simulator, person, tasks, start })
    }

    /// Kills it, and starts another one in the same world.
    pub async fn restart(&mut self, command: Command) -> anyhow::Result<()> {
        let mut seen = self.simulator.watch(self.person);
        self.process.kill()?;
        self.process.wait()?;
        while self.simulator.read(World::bot_online) {
            seen.next().await;
        }
        (self.process, self.start) = join(command, &self.simulator, self.person).await?;
        Ok(())
    }

    /// Does so many things, `at_once` under way together, and waits for what comes of each. `seen_by` sees the
    /// answers.
    pub async fn round(
        &self,
        seen_by: u64,
        things: usize,
        at_once: usize,
        act: impl Fn(usize) -> (u64, Act),
    ) -> anyhow::Result<Round> {
        let processor = processor_time(&self.process.id().to_string())?;
        let mut seen = self.simulator.watch(seen_by);
        let (mut asked, mut times) = (HashMap::new(), Vec::with_capacity(things));
        let (mut next, began) = (0, Instant::now());
        while times.len() < things {
            while next < things && asked.len() < at_once {
                let (person, act) = act(next);
                let now = Instant::now();
                let made = self.simulator.act(person, act).map_err(|error| anyhow::anyhow!("{error:?}"))?;
                let id = made["message"].as_str().or(made["interaction"].as_str()).unwrap_or_default();
                asked.insert(id.to_owned(), now);
                next += 1;
            }
            let event = seen.next_shared().await.expect("the simulator runs");
            let shown = &event["d"];
            let answered =
                shown["message_reference"]["message_id"].as_str().or(shown["interaction"].as_str());
            if let Some(at) = answered.and_then(|id| asked.remove(id)) {
                times.push(at.elapsed().as_secs_f64() * 1e6);
            }
        }
        let elapsed = began.elapsed();
        let used = processor_time(&self.process.id().to_string())? - processor;
        times.sort_by(f64::total_cmp);
        Ok(Round {
            processor: used.as_secs_f64() * 1e6 / things as f64,
            per_second: things as f64 / elapsed.as_secs_f64(),
            p50: times[things / 2],
            p99: times[things * 99 / 100],
        })
    }
}

/// What somebody types.
pub fn say(channel: u64, text: impl Into<String>) -> Act {
    Act::Say { channel, text: text.into(), reply_to: None, ping: true, files: Vec::new() }
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
