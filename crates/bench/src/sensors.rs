//! Temperature, frequency and power as Linux reports them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::Energy;

/// The drivers of processors' sensors below `hwmon`, and the types of thermal zones that are processors.
const HWMON: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"];
const ZONES: [&str; 5] = ["x86_pkg_temp", "cpu", "soc", "bigcore", "littlecore"];
/// The unit in which Linux reports temperatures, and the factors of watts and hertz.
const MILLI: f64 = 1e-3;
const MICRO: f64 = 1e-6;
const KILO: f64 = 1e3;

/// A quantity's origin, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file or the counter; `None` if the system does not report the quantity.
    pub source: Option<String>,
    /// The reason why there is none.
    pub reason: Option<String>,
}

impl Origin {
    fn of(found: Result<String, String>) -> Self {
        match found {
            Ok(source) => Self { source: Some(source), reason: None },
            Err(reason) => Self { source: None, reason: Some(reason) },
        }
    }
}

/// The origins of all quantities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origins {
    /// The temperature of the processor.
    pub temperature: Origin,
    /// The mean frequency of the CPUs.
    pub frequency: Origin,
    /// The power of the processor, of the battery or of the board.
    pub power: Origin,
}

/// The quantities at a time; `None` where they are not reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Reading {
    /// The temperature of the hottest sensor of the processor.
    pub temperature_celsius: Option<f64>,
    /// The mean frequency of the CPUs.
    pub frequency_hertz: Option<f64>,
    /// The power since the last reading, or at the moment where only that is reported.
    pub power_watts: Option<f64>,
}

/// The sensors of a machine.
#[derive(Debug)]
pub struct Sensors {
    temperature: Vec<PathBuf>,
    frequency: Vec<PathBuf>,
    cpuinfo: PathBuf,
    power: Power,
    origins: Origins,
}

/// The origin of power.
#[derive(Debug)]
enum Power {
    None,
    /// A counter, with the time and the energy of the last reading.
    Counter(Energy, Instant, f64),
    /// A file in microwatts.
    File(PathBuf),
    /// A battery that reports its current in microamperes and its voltage in microvolts.
    Battery(PathBuf),
}

impl Sensors {
    /// Finds the sensors of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::below(Path::new("/"))
    }

    /// Finds the sensors below a root folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let (temperature, temperature_origin) = temperature(root);
        let (frequency, frequency_origin) = frequency(root);
        let (power, power_origin) = power(root);
        let origins = Origins {
            temperature: Origin::of(temperature_origin),
            frequency: Origin::of(frequency_origin),
            power: Origin::of(power_origin),
        };
        Self { temperature, frequency, cpuinfo: root.join("proc/cpuinfo"), power, origins }
    }

    /// Returns the origins of the quantities.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Reads all quantities.
    pub fn read(&mut self) -> Reading {
        let hottest = self.temperature.iter().filter_map(|file| number(file)).reduce(f64::max);
        Reading {
            temperature_celsius: hottest.map(|millis| millis * MILLI),
            frequency_hertz: mean(self.frequency.iter().filter_map(|file| number(file)))
                .map(|kilohertz| kilohertz * KILO)
                .or_else(|| cpuinfo_hertz(&self.cpuinfo)),
            power_watts: self.power.watts(),
        }
    }
}

impl Power {
    fn watts(&mut self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Counter(energy, last, before) => {
                let (now, joules) = (Instant::now(), energy.joules()?);
                let seconds = now.duration_since(*last).as_secs_f64();
                let watts = (joules - *before) / seconds;
                (*last, *before) = (now, joules);
                (seconds > 0.0).then_some(watts)
            }
            Self::File(file) => number(file).map(|microwatts| microwatts.abs() * MICRO),
            Self::Battery(folder) => {
                let (current, voltage) = (number(&folder.join("current_now"))?, number(&folder.join("voltage_now"))?);
                Some(current.abs() * MICRO * voltage * MICRO)
            }
        }
    }
}

/// Finds the processor's sensors of temperature: those of its driver, otherwise its thermal zones, otherwise all zones.
fn temperature(root: &Path) -> (Vec<PathBuf>, Result<String, String>) {
    let mut named = Vec::new();
    for chip in folders(&root.join("sys/class/hwmon")) {
        let name = word(&chip.join("name"));
        if HWMON.contains(&name.as_str()) {
            let inputs = files(&chip).into_iter().filter(|file| is_input(file, "temp"));
            named.push((inputs.collect::<Vec<_>>(), name));
        }
    }
    let zones: Vec<(PathBuf, String)> = folders(&root.join("sys/class/thermal"))
        .into_iter()
        .filter(|zone| zone.join("temp").exists())
        .map(|zone| (zone.join("temp"), word(&zone.join("type"))))
        .collect();
    let of_cpu = |kind: &str| ZONES.iter().any(|name| kind.to_lowercase().starts_with(name));
    let (cpu, rest): (Vec<_>, Vec<_>) = zones.into_iter().partition(|(_, kind)| of_cpu(kind));
    named.push(together(cpu));
    named.push(together(rest));
    let readable = |file: &PathBuf| number(file).is_some();
    match named.into_iter().find(|(files, _)| files.iter().any(readable)) {
        Some((files, name)) => (files, Ok(name)),
        None => {
            let reason = "no readable sensor in /sys/class/hwmon or /sys/class/thermal";
            (Vec::new(), Err(reason.to_owned()))
        }
    }
}

/// Joins zones to a group with all their names.
fn together(zones: Vec<(PathBuf, String)>) -> (Vec<PathBuf>, String) {
    let (files, mut names): (Vec<_>, Vec<_>) = zones.into_iter().unzip();
    names.dedup();
    (files, names.join(", "))
}

fn frequency(root: &Path) -> (Vec<PathBuf>, Result<String, String>) {
    let cpus = folders(&root.join("sys/devices/system/cpu"));
    let files: Vec<PathBuf> = cpus.iter().map(|cpu| cpu.join("cpufreq/scaling_cur_freq")).collect();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| number(file).is_some()).collect();
    let origin = if !files.is_empty() {
        Ok("cpufreq".to_owned())
    } else if cpuinfo_hertz(&root.join("proc/cpuinfo")).is_some() {
        Ok("/proc/cpuinfo".to_owned())
    } else {
        Err("neither cpufreq in /sys/devices/system/cpu nor a frequency in /proc/cpuinfo".to_owned())
    };
    (files, origin)
}

fn power(root: &Path) -> (Power, Result<String, String>) {
    let no_counter = match Energy::below(root) {
        Ok(mut energy) => {
            let before = energy.joules().unwrap_or(0.0);
            return (Power::Counter(energy, Instant::now(), before), Ok("energy counters (RAPL)".to_owned()));
        }
        Err(reason) => reason,
    };
    for supply in folders(&root.join("sys/class/power_supply")) {
        // A battery that is charged reports what flows into it.
        if word(&supply.join("type")) == "Battery" && word(&supply.join("status")) == "Discharging" {
            let name = Ok(format!("battery {}", name(&supply)));
            let file = supply.join("power_now");
            if number(&file).is_some() {
                return (Power::File(file), name);
            }
            if number(&supply.join("current_now")).is_some() && number(&supply.join("voltage_now")).is_some() {
                return (Power::Battery(supply), name);
            }
        }
    }
    for chip in folders(&root.join("sys/class/hwmon")) {
        let file = files(&chip).into_iter().find(|file| is_input(file, "power") && number(file).is_some());
        if let Some(file) = file {
            return (Power::File(file), Ok(word(&chip.join("name"))));
        }
    }
    (Power::None, Err(format!("{no_counter}, no battery that is discharged, no power sensor in /sys/class/hwmon")))
}

/// Returns the mean frequency in hertz that `/proc/cpuinfo` reports.
fn cpuinfo_hertz(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let megahertz =
        text.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse().ok());
    mean(megahertz).map(|megahertz: f64| megahertz * KILO * KILO)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Returns `true` for files such as `temp1_input` and `power1_average`.
fn is_input(file: &Path, quantity: &str) -> bool {
    let name = name(file);
    name.starts_with(quantity) && (name.ends_with("_input") || name.ends_with("_average"))
}

fn number(file: &Path) -> Option<f64> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

fn word(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Returns the entries of a folder in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

/// Returns the folders in a folder; those of devices are links.
fn folders(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::made_up::write;

    #[test]
    fn a_machine_without_sensors_tells_why() {
        let root = tempfile::tempdir().unwrap();
        let mut sensors = Sensors::below(root.path());
        assert_eq!(sensors.read(), Reading::default());
        let Origins { temperature, frequency, power } = sensors.origins();
        for (origin, part) in [(temperature, "thermal"), (frequency, "cpufreq"), (power, "battery")] {
            assert!(origin.source.is_none() && origin.reason.as_ref().unwrap().contains(part), "{origin:?}");
        }
    }

    #[test]
    fn sensors_of_the_processor_come_before_others() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "sys/class/thermal/thermal_zone0/type", "acpitz\n");
        write(root, "sys/class/thermal/thermal_zone0/temp", "16800\n");
        write(root, "proc/cpuinfo", "processor : 0\ncpu MHz\t\t: 2000.5\ncpu MHz\t\t: 1000.5\n");
        let mut sensors = Sensors::below(root);
        let found = sensors.read();
        assert_eq!((found.temperature_celsius, found.frequency_hertz), (Some(16.8), Some(1.5005e9)));
        assert_eq!(sensors.origins().temperature.source.as_deref(), Some("acpitz"));
        write(root, "sys/class/thermal/thermal_zone1/type", "cpu-thermal\n");
        write(root, "sys/class/thermal/thermal_zone1/temp", "61000\n");
        assert_eq!(Sensors::below(root).read().temperature_celsius, Some(61.0));
        write(root, "sys/class/hwmon/hwmon0/name", "nvme\n");
        write(root, "sys/class/hwmon/hwmon0/temp1_input", "99000\n");
        write(root, "sys/class/hwmon/hwmon1/name", "k10temp\n");
        write(root, "sys/class/hwmon/hwmon1/temp1_input", "72500\n");
        write(root, "sys/class/hwmon/hwmon1/temp3_input", "70000\n");
        write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3600000\n");
        write(root, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1800000\n");
        let mut sensors = Sensors::below(root);
        let found = sensors.read();
        assert_eq!((found.temperature_celsius, found.frequency_hertz), (Some(72.5), Some(2.7e9)));
        assert_eq!(sensors.origins().temperature.source.as_deref(), Some("k10temp"));
        fs::remove_file(root.join("sys/class/hwmon/hwmon1/temp1_input")).unwrap();
        write(root, "sys/class/hwmon/hwmon1/temp3_input", "hot\n");
        assert_eq!(sensors.read().temperature_celsius, None, "a sensor that went away");
    }

    #[test]
    fn power_comes_from_counters_then_batteries_then_boards() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "sys/class/hwmon/hwmon0/name", "ina3221\n");
        write(root, "sys/class/hwmon/hwmon0/power1_input", "5000000\n");
        assert_eq!(Sensors::below(root).read().power_watts, Some(5.0));
        write(root, "sys/class/power_supply/BAT0/type", "Battery\n");
        write(root, "sys/class/power_supply/BAT0/status", "Charging\n");
        write(root, "sys/class/power_supply/BAT0/current_now", "-2000000\n");
        write(root, "sys/class/power_supply/BAT0/voltage_now", "4000000\n");
        assert_eq!(Sensors::below(root).read().power_watts, Some(5.0), "a battery that is charged");
        write(root, "sys/class/power_supply/BAT0/status", "Discharging\n");
        assert_eq!(Sensors::below(root).read().power_watts, Some(8.0));
        write(root, "sys/class/power_supply/BAT0/power_now", "9000000\n");
        let mut sensors = Sensors::below(root);
        assert_eq!(sensors.read().power_watts, Some(9.0));
        assert_eq!(sensors.origins().power.source.as_deref(), Some("battery BAT0"));
        let zone = "sys/class/powercap/intel-rapl:0";
        write(root, &format!("{zone}/name"), "package-0\n");
        write(root, &format!("{zone}/max_energy_range_uj"), "1000000000\n");
        write(root, &format!("{zone}/energy_uj"), "0\n");
        let mut sensors = Sensors::below(root);
        write(root, &format!("{zone}/energy_uj"), "3000000\n");
        assert!(sensors.read().power_watts.unwrap() > 3.0, "3 J in far less than a second");
    }
}
