//! The keys of the training mode; those that do not belong to a slide work in both modes.

use egui::Key;

use super::super::command::{Command, Named, ctrl, ctrl_shift, key, named};
use super::TrainCommand;
use super::control::ControlCommand;
use super::look::LookCommand;
use super::rollouts::RolloutsCommand;
use super::runs::RunsCommand;
use super::setup::SetupCommand;

/// Every command of the training mode that has a key.
pub const NAMED: &[Named] = &[
    named("Runs", &[ctrl(Key::R)], true, || Command::Train(TrainCommand::Runs(RunsCommand::ToggleList))),
    named("Look for runs", &[key(Key::F5)], true, || {
        Command::Train(TrainCommand::Runs(RunsCommand::Refresh))
    }),
    named("Preflight", &[ctrl_shift(Key::Enter)], true, || {
        Command::Train(TrainCommand::Look(LookCommand::Preflight))
    }),
    named("Start run", &[ctrl(Key::Enter)], true, || {
        Command::Train(TrainCommand::Control(ControlCommand::Start { queued: false }))
    }),
    named("Newest rollouts", &[key(Key::End)], false, || {
        Command::Train(TrainCommand::Rollouts(RolloutsCommand::ShowNewest))
    }),
    named("Redo setting", &[ctrl_shift(Key::Z), ctrl(Key::Y)], false, || {
        Command::Train(TrainCommand::Setup(SetupCommand::Redo))
    }),
    named("Undo setting", &[ctrl(Key::Z)], false, || Command::Train(TrainCommand::Setup(SetupCommand::Undo))),
    named("Stop looking", &[key(Key::Escape)], true, || {
        Command::Train(TrainCommand::Look(LookCommand::Stop))
    }),
];
