//! Nudges from those who enqueue jobs to those who run them.

pub mod amqp;
pub mod celery;
pub mod in_process;
