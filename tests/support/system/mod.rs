//! What the kernel does to a process: calls that it refuses, disks that are small or hang, a network of one's own.

pub mod deny;
pub mod empty_root;
pub mod memory_group;
pub mod own_network;
pub mod own_process;
pub mod shifted_clock;
pub mod small_disk;
