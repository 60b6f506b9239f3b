//! What a worker tells of the machine it runs on. Where something cannot be known, less is told.

use std::time::{SystemTime, UNIX_EPOCH};

/// The name of this machine, as `gethostname()` gives it: a worker is `celery@` and this.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Hours that local time is behind UTC, as Celery counts them.
pub(super) fn utcoffset() -> f64 {
    f64::from(chrono::Local::now().offset().utc_minus_local()) / 3_600.0
}

/// The load of the machine over 1, 5 and 15 minutes.
pub(super) fn loadavg() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0.0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}

/// Processor time of this process in user mode and in the kernel, in seconds, and the most memory it used, in kilobytes.
pub(super) fn usage() -> Option<(f64, f64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may hold anything; 14 and 15 are the times, in ticks.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, kernel] = ticks.try_into().ok()?;
    let each_second = rustix::param::clock_ticks_per_second() as f64;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((user / each_second, kernel / each_second, kilobytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known() {
        assert!(!host_name().is_empty());
        assert!(now() > 1_700_000_000.0);
        assert!(utcoffset().abs() <= 14.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_process_used_is_read() {
        let (user, kernel, kilobytes) = usage().unwrap();
        assert!(user >= 0.0 && kernel >= 0.0 && kilobytes > 100);
    }
}
