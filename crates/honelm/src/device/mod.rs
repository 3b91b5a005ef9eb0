//! Devices: the choice of one, its tests, and what is remembered of it.

mod auto;
mod choice;
mod devices;
mod load;
mod machine;
mod open;
mod remembered;
mod trust;

pub use choice::DeviceChoice;
pub use devices::{CpuDevice, DeviceTest, Devices, GpuDevice, devices};
pub use machine::machine_memory;
pub use trust::trusted;

pub(crate) use load::{load, open_for};
pub(crate) use machine::{cpu_name, operating_system};
pub(crate) use open::{SharedGpu, load_on};
