//! The machine that the bot runs on: how busy it is, how full its disks are.

use std::path::Path;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::relay::sources::sight::Fields;

/// Load, memory and uptime.
pub fn host() -> Fields {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(memory);
    let load = System::load_average();
    let share = |used: u64, total: u64| if total > 0 { used as f64 / total as f64 * 100.0 } else { 0.0 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Fields::default()
        .number("load", load.one)
        .number("load_5m", load.five)
        .number("load_15m", load.fifteen)
        .number("cores", cores as f64)
        .number("memory_percent", share(system.used_memory(), system.total_memory()))
        .number("memory_free", system.available_memory() as f64)
        .number("swap_percent", share(system.used_swap(), system.total_swap()))
        .number("uptime_seconds", System::uptime() as f64)
}

/// How full the disk is that a path lies on. As `df` counts: what only root may use is no free space.
pub fn disk(path: &str) -> Result<Fields, String> {
    let found = rustix::fs::statvfs(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    let usable = used + found.f_bavail;
    let percent = if usable > 0 { used as f64 / usable as f64 * 100.0 } else { 0.0 };
    Ok(Fields::default()
        .text("path", path)
        .number("used_percent", percent)
        .number("free_bytes", (found.f_bavail * found.f_frsize) as f64)
        .number("total_bytes", (found.f_blocks * found.f_frsize) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::envelope::Value;

    fn number(fields: &Fields, name: &str) -> f64 {
        match fields.0[name] {
            Value::Number(number) => number,
            _ => panic!("{name} is no number"),
        }
    }

    #[test]
    fn this_machine_runs() {
        let fields = host();
        assert!(number(&fields, "uptime_seconds") > 0.0 && number(&fields, "cores") >= 1.0);
        assert!((0.0..=100.0).contains(&number(&fields, "memory_percent")));
    }

    #[test]
    fn a_disk_is_as_full_as_it_is() {
        let fields = disk("/").unwrap();
        assert!((0.0..=100.0).contains(&number(&fields, "used_percent")));
        assert!(number(&fields, "total_bytes") > 0.0);
        assert!(disk("/nowhere/at/all").unwrap_err().starts_with("/nowhere/at/all: "));
    }
}
