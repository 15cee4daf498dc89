//! The whole system on one machine: the resources of template.yaml on a local stand-in for AWS, the functions behind one HTTP server,
//! their schedules and queues, and worker processes. It promises that what runs here is what the template declares.

pub mod aws;
pub mod config;
pub mod data;
pub mod demo;
pub mod failure;
pub mod functions;
pub mod gateway;
pub mod headers;
pub mod invoke;
pub mod logging;
pub mod mail;
pub mod model;
pub mod pages;
pub mod play;
pub mod process;
pub mod provision;
pub mod rentals;
pub mod resolve;
pub mod routes;
pub mod say;
pub mod schedules;
pub mod secrets;
pub mod simulator;
pub mod standin;
pub mod system;
pub mod template;
pub mod workers;
