//! What this machine and the settings themselves say about a run, before the training program looks: free memory, the device,
//! the disk, batches that do not divide. The program then reckons what the run needs.

use reinpath_training::config::{Optimisation, RunConfig};
use reinpath_training::event::Finding;
use reinpath_training::machine::{GpuSample, MachineSample};

use crate::models::size_in_words;

/// Below this a disk is nearly full: a checkpoint of a large model's adapters takes about as much.
const LITTLE_ROOM: u64 = 2_000_000_000;

/// Findings about the machine as it is now. `model_holds` is what the assistant's model takes of the run's device.
pub(super) fn findings(
    config: &RunConfig,
    sample: Option<&MachineSample>,
    disk_free: Option<u64>,
    model_holds: Option<u64>,
) -> Vec<Finding> {
    let device = config.compute.device.as_str();
    let mut findings = memory(device, sample);
    if let Some(bytes) = model_holds {
        findings.push(doubtful(
            format!("The assistant's model holds {} of the memory of {device}.", size_in_words(bytes)),
            "It gives them up when the run starts; the next question loads it again.".to_owned(),
        ));
    }
    if let Some(free) = disk_free.filter(|&free| free < LITTLE_ROOM) {
        findings.push(doubtful(
            format!("Only {} are free on the disk that the run would lie on.", size_in_words(free)),
            "Make room, choose another folder for the run, or keep fewer checkpoints (`checkpoints.keep_last`)."
                .to_owned(),
        ));
    }
    findings.extend(batches(config));
    findings
}

fn good(finding: String) -> Finding {
    Finding { finding, cure: None, is_fatal: false }
}

fn doubtful(finding: String, cure: String) -> Finding {
    Finding { finding, cure: Some(cure), is_fatal: false }
}

/// The number of a GPU: that in `cuda:N`, 0 for `cuda`; `None` of anything else.
fn gpu_number(device: &str) -> Option<u32> {
    match device.split_once(':') {
        None => (device == "cuda").then_some(0),
        Some(("cuda", number)) => number.parse().ok(),
        Some(_) => None,
    }
}

fn memory(device: &str, sample: Option<&MachineSample>) -> Vec<Finding> {
    let Some(sample) = sample else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some((free, all)) = sample.memory_free.zip(sample.memory_total) {
        let (free, all) = (size_in_words(free), size_in_words(all));
        findings.push(good(format!("{free} of {all} main memory are free.")));
    }
    let Some(number) = gpu_number(device) else { return findings };
    if sample.gpus.is_empty() {
        findings.push(doubtful(
            format!("No GPU can be seen on this machine, and the run is to use {device}."),
            "See that NVIDIA's driver is installed, or set `compute.device` to `cpu`.".to_owned(),
        ));
        return findings;
    }
    findings.extend(sample.gpus.iter().map(|gpu| good(gpu_in_words(gpu))));
    if sample.gpus.iter().all(|gpu| gpu.index != number) {
        let there: Vec<String> = sample.gpus.iter().map(|gpu| format!("cuda:{}", gpu.index)).collect();
        findings.push(Finding {
            finding: format!("There is no GPU {device} on this machine."),
            cure: Some(format!("Set `compute.device` to one that is there: {}.", there.join(", "))),
            is_fatal: true,
        });
    }
    findings
}

fn gpu_in_words(gpu: &GpuSample) -> String {
    let memory = match (gpu.memory_free, gpu.memory_total) {
        (Some(free), Some(all)) => {
            format!("{} of {} are free", size_in_words(free), size_in_words(all))
        }
        _ => "its memory is not known".to_owned(),
    };
    format!("cuda:{} ({}): {memory}.", gpu.index, gpu.name)
}

/// Batches that are no whole number of micro-batches: the last one of each update is smaller, which costs time.
fn batches(config: &RunConfig) -> Vec<Finding> {
    let stages: [(&str, Option<(&Optimisation, usize)>); 3] = [
        ("alignment", config.alignment.as_ref().map(|stage| (&stage.optimisation, 1))),
        ("cold_start", config.cold_start.as_ref().map(|stage| (&stage.optimisation, 1))),
        ("grpo", config.grpo.as_ref().map(|stage| (&stage.optimisation, stage.samples))),
    ];
    let of_stage = |(name, stage): (&str, Option<(&Optimisation, usize)>)| {
        let (optimisation, samples) = stage?;
        let (all, part) = (optimisation.batch.saturating_mul(samples), optimisation.micro_batch);
        if part == 0 || part >= all || all.is_multiple_of(part) {
            return None;
        }
        let what = if samples == 1 {
            format!("a batch of {all} examples")
        } else {
            format!("the {all} answers of a batch")
        };
        let fitting = (1..part).rev().find(|&smaller| all.is_multiple_of(smaller)).unwrap_or(1);
        Some(doubtful(
            format!(
                "{name}: {what} cannot be divided into parts of {part}: one part of each update is smaller."
            ),
            format!("Set `{name}.optimisation.micro_batch` to {fitting}, which divides it."),
        ))
    };
    stages.into_iter().filter_map(of_stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(device: &str, more: &str) -> RunConfig {
        let text =
            format!("name = \"a\"\nseed = 1\nbase = \"base\"\ncompute = {{ device = \"{device}\" }}\n{more}");
        toml::from_str(&text).unwrap()
    }

    fn machine() -> MachineSample {
        let gpu = |index, free| GpuSample {
            index,
            name: "H100".to_owned(),
            memory_total: Some(80_000_000_000),
            memory_free: free,
            ..GpuSample::default()
        };
        MachineSample {
            memory_total: Some(16_000_000_000),
            memory_free: Some(9_500_000_000),
            gpus: vec![gpu(0, Some(70_100_000_000)), gpu(1, None)],
            ..MachineSample::default()
        }
    }

    #[test]
    fn each_gpu_is_told_with_its_free_memory_and_one_that_is_not_there_is_fatal() {
        let found = findings(&config("cuda:1", ""), Some(&machine()), None, None);
        let told: Vec<&str> = found.iter().map(|finding| finding.finding.as_str()).collect();
        assert_eq!(
            told,
            [
                "9.5 GB of 16.0 GB main memory are free.",
                "cuda:0 (H100): 70.1 GB of 80.0 GB are free.",
                "cuda:1 (H100): its memory is not known.",
            ]
        );
        assert!(found.iter().all(|finding| finding.cure.is_none()));
        let found = findings(&config("cuda:2", ""), Some(&machine()), None, None);
        let last = found.last().unwrap();
        assert!(last.is_fatal && last.cure.as_ref().unwrap().ends_with("cuda:0, cuda:1."), "{last:?}");
        assert!(!findings(&config("cuda", ""), Some(&machine()), None, None).iter().any(|f| f.is_fatal));
    }

    #[test]
    fn a_run_on_the_processor_needs_no_gpu_and_one_on_a_gpu_that_cannot_be_seen_is_doubtful() {
        let none = MachineSample { gpus: Vec::new(), ..machine() };
        assert_eq!(findings(&config("cpu", ""), Some(&none), None, None).len(), 1);
        let found = findings(&config("cuda", ""), Some(&none), None, None);
        assert!(found.len() == 2 && found[1].cure.is_some() && !found[1].is_fatal, "{found:?}");
        assert!(
            findings(&config("cuda", ""), None, None, None).is_empty(),
            "nothing is known, nothing is said"
        );
    }

    #[test]
    fn the_assistants_model_and_a_disk_that_is_nearly_full_are_told() {
        let found = findings(&config("cpu", ""), None, Some(1_900_000_000), Some(350_000_000));
        assert_eq!(found[0].finding, "The assistant's model holds 350.0 MB of the memory of cpu.");
        assert_eq!(found[1].finding, "Only 1.9 GB are free on the disk that the run would lie on.");
        assert!(found.len() == 2 && found.iter().all(|finding| finding.cure.is_some() && !finding.is_fatal));
        assert!(findings(&config("cpu", ""), None, Some(LITTLE_ROOM), None).is_empty());
    }

    #[test]
    fn a_batch_that_does_not_divide_is_told_with_a_number_that_does() {
        let stages = "
            [cold_start]
            data = [{ folder = \"d\" }]
            optimisation = { batch = 32, micro_batch = 5 }
            [grpo]
            data = [{ folder = \"d\" }]
            samples = 3
            optimisation = { batch = 4, micro_batch = 8 }
            [alignment]
            data = [{ folder = \"d\" }]
            optimisation = { batch = 32, micro_batch = 8 }";
        let found = findings(&config("cpu", stages), None, None, None);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].finding.starts_with("cold_start: a batch of 32 examples"), "{found:?}");
        assert!(found[0].cure.as_ref().unwrap().contains("micro_batch` to 4,"), "{found:?}");
        assert!(found[1].finding.starts_with("grpo: the 12 answers of a batch"), "{found:?}");
        assert!(found[1].cure.as_ref().unwrap().contains("micro_batch` to 6,"), "{found:?}");
        assert!(found.iter().all(|finding| !finding.is_fatal));
        let one = "[grpo]\ndata = [{ folder = \"d\" }]\noptimisation = { batch = 2, micro_batch = 8 }";
        assert!(findings(&config("cpu", one), None, None, None).is_empty(), "the whole batch at once");
    }
}
