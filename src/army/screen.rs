//! How a run stands, on a terminal: a table that is drawn again every second, and keys.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, IsTerminal, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::army::metrics::document::Document;
use crate::army::run::Watch;
use crate::army::schedule::BOTS_MAX;
use crate::army::summary;

/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// What a terminal has that does not say so.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Lines around the rows of actions, and one for the shell's prompt.
const FRAME: usize = 7;

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Stop,
    Pause,
    Summary,
    /// So many bots more, or fewer.
    Bots(i32),
}

impl Key {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'q' => Self::Stop,
            b' ' => Self::Pause,
            b'p' => Self::Summary,
            b'w' => Self::Bots(1),
            b'W' => Self::Bots(10),
            b's' => Self::Bots(-1),
            b'S' => Self::Bots(-10),
            _ => return None,
        })
    }
}

/// The keyboard of the terminal that the process was started from. While it is open keys come at once and are not
/// shown; it is as it was before when this is dropped.
struct Keyboard {
    terminal: Arc<File>,
    /// A read that is under way: whoever waits for a key may be called away and come back.
    reading: Option<JoinHandle<io::Result<Read>>>,
    /// So many reads in a row have ended at once with nothing.
    hasty: u32,
}

/// What came of a read.
enum Read {
    Byte(u8),
    Nothing,
    /// Nothing, and without waiting for it.
    Hasty,
}

/// How long a read waits, in tenths of a second: the longest that the process waits for one when it ends.
const READ_TENTHS: u8 = 2;

/// A terminal that was hung up has nothing to say, and says so at once.
const HASTY_MAX: u32 = 20;

impl Keyboard {
    /// `None` where there is no terminal, or this process is not in its foreground.
    fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = File::from(rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?);
        if rustix::termios::tcgetpgrp(&terminal).ok() != Some(rustix::process::getpgrp()) {
            return None;
        }
        let usual = tcgetattr(&terminal).ok()?;
        let mut keys = usual.clone();
        // Ctrl-C stays a signal.
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        keys.special_codes[SpecialCodeIndex::VMIN] = 0;
        keys.special_codes[SpecialCodeIndex::VTIME] = READ_TENTHS;
        *before() = Some(usual);
        tcsetattr(&terminal, OptionalActions::Now, &keys).ok()?;
        Some(Self { terminal: Arc::new(terminal), reading: None, hasty: 0 })
    }

    /// The next key that means something; waits for ever once the terminal is gone.
    async fn next(&mut self) -> Key {
        while self.hasty < HASTY_MAX {
            let terminal = self.terminal.clone();
            let reading = self.reading.get_or_insert_with(|| spawn_blocking(move || read(&terminal)));
            let read = reading.await;
            self.reading = None;
            self.hasty = match read {
                Ok(Ok(Read::Byte(byte))) => {
                    if let Some(key) = Key::of(byte) {
                        return key;
                    }
                    0
                }
                Ok(Ok(Read::Nothing)) => 0,
                Ok(Ok(Read::Hasty)) => self.hasty + 1,
                Ok(Err(_)) | Err(_) => HASTY_MAX,
            };
        }
        std::future::pending().await
    }

    /// Columns and rows.
    fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.terminal) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => USUAL_SIZE,
        }
    }
}

fn read(mut terminal: &File) -> io::Result<Read> {
    let (mut byte, began) = ([0], Instant::now());
    Ok(match terminal.read(&mut byte)? {
        0 if began.elapsed() < Duration::from_millis(u64::from(READ_TENTHS) * 50) => Read::Hasty,
        0 => Read::Nothing,
        _ => Read::Byte(byte[0]),
    })
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        restore();
    }
}

/// How the terminal was, while it is another way.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the terminal what it was; for a process that ends at once.
pub fn restore() {
    if let Some(before) = before().take()
        && let Ok(terminal) = File::open("/dev/tty")
    {
        // A terminal that is gone needs nothing.
        tcsetattr(terminal, OptionalActions::Now, &before).ok();
    }
}

/// Whether there is somebody to look.
pub fn is_there() -> bool {
    io::stderr().is_terminal()
}

/// Shows the run, and does what keys say, until this is dropped. `None`: there is no keyboard.
pub struct Screen<'a> {
    keyboard: Keyboard,
    tell: &'a (dyn Fn(&str) + Sync),
    /// Lines on the screen that are drawn over.
    drawn: usize,
}

impl<'a> Screen<'a> {
    pub fn open(tell: &'a (dyn Fn(&str) + Sync)) -> Option<Self> {
        Some(Self { keyboard: Keyboard::open()?, tell, drawn: 0 })
    }

    pub async fn show(&mut self, watch: &Watch) {
        let mut ticks = interval(DRAW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                key = self.keyboard.next() => match key {
                    Key::Stop => {
                        self.draw(watch, "stopping");
                        watch.strings.stop.cancel();
                    }
                    Key::Pause => watch.stage.toggle_pause(),
                    Key::Summary => {
                        let told = summary::summary(&watch.document());
                        (self.tell)(&format!("{}{told}\n", over(std::mem::take(&mut self.drawn))));
                    }
                    Key::Bots(more) => {
                        let now = watch.document().target_bot_count;
                        let wanted = now.saturating_add_signed(more.into()).min(BOTS_MAX.into());
                        watch.strings.set_target(u32::try_from(wanted).unwrap_or(BOTS_MAX));
                    }
                },
            }
            self.draw(watch, if watch.stage.is_paused() { "paused" } else { "" });
        }
    }

    fn draw(&mut self, watch: &Watch, state: &str) {
        let (columns, rows) = self.keyboard.size();
        let lines = table(&watch.document(), state, columns, rows.saturating_sub(FRAME));
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        (self.tell)(&format!("{}{text}", over(self.drawn)));
        self.drawn = lines.len();
    }
}

/// To the beginning of what was drawn, which is wiped away.
fn over(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") }
}

/// How it stands; no line is longer than the terminal is wide, or drawing over it would miss.
fn table(document: &Document, state: &str, columns: usize, actions: usize) -> Vec<String> {
    let run = &document.run;
    let last = document.series.last().copied().unwrap_or_default();
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} ms"));
    let mut first = format!(
        "army run {}  {} of {} bots  {}  {}  seed {}",
        run.tree,
        document.bot_count,
        document.target_bot_count,
        summary::time(run.uptime_ms),
        run.model,
        run.seed,
    );
    if !state.is_empty() {
        let _ = write!(first, "  {}", state.to_uppercase());
    }
    let second = format!(
        "{} steps/s  {} errors  p50 {}  p95 {}  429: {}  late acks: {}",
        last.steps,
        document.total_error_count,
        ms(last.p50),
        ms(last.p95),
        document.discord.http_429,
        document.discord.ack_late,
    );
    let mut lines = vec![first, second, summary::heading()];
    let mut rows: Vec<_> = document.actions.iter().collect();
    rows.sort_by_key(|(name, action)| (std::cmp::Reverse(action.runs), name.as_str()));
    lines.extend(rows.iter().take(actions).map(|(name, action)| summary::row(name, action)));
    if rows.len() > actions {
        lines.push(format!("and {} more", rows.len() - actions));
    }
    let bots = if run.model == "closed" { "   w/s one bot more/fewer   W/S ten" } else { "" };
    lines.push(format!("q stop   space pause   p summary now{bots}"));
    lines.iter().map(|line| line.trim_end().chars().take(columns).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::army::metrics::document::Action;

    #[test]
    fn a_table_fits_its_terminal_and_says_what_can_be_done() {
        let mut document = Document { bot_count: 9, target_bot_count: 10, ..Document::default() };
        (document.run.tree, document.run.model) = ("visit".into(), "closed".into());
        for number in 0..40 {
            document.actions.insert(format!("action {number}"), Action { runs: number, ..Action::default() });
        }
        let lines = table(&document, "paused", 60, 5);
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
        assert!(
            lines[0].starts_with("army run visit  9 of 10 bots") && lines[0].ends_with("PAUSED"),
            "{lines:#?}"
        );
        assert!(lines[3].starts_with("action 39"), "the busiest first: {lines:#?}");
        assert_eq!(lines.len(), 3 + 5 + 1 + 1);
        assert_eq!(lines[8], "and 35 more");
        document.run.model = "open".into();
        let open = table(&document, "", 80, 5);
        assert_eq!(open[9], "q stop   space pause   p summary now");
        assert_eq!((over(0), over(3)), (String::new(), "\x1b[3A\r\x1b[J".to_owned()));
    }

    #[test]
    fn other_keys_mean_nothing() {
        assert_eq!(
            [b'q', b' ', b'W', b's'].map(Key::of),
            [Some(Key::Stop), Some(Key::Pause), Some(Key::Bots(10)), Some(Key::Bots(-1))]
        );
        assert_eq!([b'x', b'\n', 0x1b].map(Key::of), [None; 3]);
    }
}
