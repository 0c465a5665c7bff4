//! Checkpoints torn at every step of their writing, damaged on the disk, of another version, and given up.

use candle_core::{DType, Device};

use super::*;

fn var(shape: &[usize], from: f32) -> Var {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| from + i as f32 / 7.0).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

fn vars(from: f32) -> Vec<(String, Var)> {
    let lora = "base_model.model.model.layers.0.self_attn.q_proj";
    vec![
        (format!("{lora}.lora_A.weight"), var(&[2, 3], from)),
        (format!("{lora}.lora_B.weight"), var(&[4, 2], from + 0.1)),
        ("model.mm_projector.0.weight".to_owned(), var(&[3, 3], from + 0.2)),
        ("model.mm_projector.0.bias".to_owned(), var(&[3], from + 0.3)),
    ]
}

fn moments(from: f32) -> BTreeMap<String, Moments> {
    let of = |from: f32| Moments {
        first: vec![from, 1e-30, 3.0],
        second: vec![from * from, 0.0, f32::MIN_POSITIVE],
    };
    vars(0.0).into_iter().map(|(name, _)| (name, of(from))).collect()
}

fn values(vars: &[(String, Var)]) -> Vec<Vec<f32>> {
    vars.iter().map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

/// What a run has after so many steps: every number follows from it.
struct Run {
    _place: tempfile::TempDir,
    checkpoints: Checkpoints,
    state: State,
}

impl Run {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(place.path().join("checkpoints")).unwrap();
        let mut state = State::new("config".to_owned(), "base".to_owned());
        state.enter("cold_start", None);
        Self { _place: place, checkpoints, state }
    }

    fn write(&mut self, step: usize, after: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.state.step = step;
        let from = step as f32;
        let (vars, lora) = (vars(from), LoraSettings { rank: 2, alpha: 4.0 });
        let (learning, moments): (Vec<_>, Vec<_>) = moments(from).into_iter().unzip();
        let snapshot = Snapshot { vars: &vars, lora: &lora, learning: &learning, moments: &moments };
        self.checkpoints.write_watched(&mut self.state, &snapshot, after)
    }

    /// The step of the latest checkpoint, as a program that is started again finds it, after a look at all its numbers.
    fn found(&self) -> Option<usize> {
        let checkpoints = Checkpoints::open(self.checkpoints.folder.clone()).unwrap();
        let (loaded, damaged) = checkpoints.latest().unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        let loaded = loaded?;
        let step = loaded.state.step;
        let restored = vars(-1.0);
        loaded.restore(&restored).unwrap();
        assert_eq!(values(&restored), values(&vars(step as f32)), "bit for bit");
        assert_eq!(loaded.moments, moments(step as f32));
        assert!(checkpoints.names().unwrap().iter().all(|name| !name.ends_with(PART)));
        Some(step)
    }
}

#[test]
fn a_kill_at_any_step_of_the_writing_leaves_the_checkpoint_before_or_this_one() {
    let mut steps = Vec::new();
    Run::new()
        .write(1, &mut |step| {
            steps.push(step.to_owned());
            Ok(())
        })
        .unwrap();
    assert_eq!(steps.len(), 8, "{steps:?}");
    for (at, step) in steps.iter().enumerate() {
        for before in [None, Some(3)] {
            let mut run = Run::new();
            if let Some(before) = before {
                run.write(before, &mut |_| Ok(())).unwrap();
            }
            let mut kill = |done: &str| if done == step { Err(Error::Stopped) } else { Ok(()) };
            run.write(5, &mut kill).unwrap_err();
            let is_there = at + 1 == steps.len();
            assert_eq!(run.found(), if is_there { Some(5) } else { before }, "killed after {step}");
            // And the run goes on.
            run.write(5, &mut |_| Ok(())).unwrap();
            run.write(6, &mut |_| Ok(())).unwrap();
            assert_eq!(run.found(), Some(6));
        }
    }
}

#[test]
fn a_kill_while_old_checkpoints_are_removed_leaves_the_latest() {
    let mut run = Run::new();
    for step in [1, 2, 3] {
        run.write(step, &mut |_| Ok(())).unwrap();
    }
    // Half removed, under the name that removing gives it.
    let (old, part) = (run.checkpoints.path("cold_start-000001"), "cold_start-000001.part");
    std::fs::rename(old, run.checkpoints.path(part)).unwrap();
    std::fs::remove_file(run.checkpoints.path(part).join(PROJECTOR)).unwrap();
    assert_eq!(run.found(), Some(3));
    assert!(!run.checkpoints.path(part).exists());
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    for name in [ADAPTERS, ADAPTER_CONFIG, PROJECTOR, OPTIMISER, STATE] {
        let mut run = Run::new();
        run.write(1, &mut |_| Ok(())).unwrap();
        run.write(2, &mut |_| Ok(())).unwrap();
        let file = run.checkpoints.path("cold_start-000002").join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&file, bytes).unwrap();
        let (loaded, damaged) = run.checkpoints.latest().unwrap();
        assert_eq!(loaded.unwrap().state.step, 1, "{name}");
        assert_eq!(damaged.len(), 1);
        let file = Path::new(name).file_name().unwrap().to_str().unwrap();
        assert!(damaged[0].ends_with(file), "{}", damaged[0]);
        assert_eq!(run.found(), Some(1));
    }
}

#[test]
fn a_checkpoint_of_a_later_program_is_refused_and_kept() {
    let mut run = Run::new();
    run.write(1, &mut |_| Ok(())).unwrap();
    run.write(2, &mut |_| Ok(())).unwrap();
    let file = run.checkpoints.path("cold_start-000002").join(STATE);
    std::fs::write(&file, r#"{"format": 2, "all": "new"}"#).unwrap();
    let refused = run.checkpoints.latest().unwrap_err().to_string();
    assert!(refused.starts_with("the checkpoint has format 2, this program reads up to 1"), "{refused}");
    assert!(file.exists());
}

#[test]
fn values_of_another_shape_are_refused_by_name() {
    let mut run = Run::new();
    run.write(1, &mut |_| Ok(())).unwrap();
    let loaded = run.checkpoints.load("cold_start-000001").unwrap();
    let refused = |vars: Vec<(String, Var)>| loaded.restore(&vars).unwrap_err().to_string();
    let other = refused(vec![("model.mm_projector.0.bias".to_owned(), var(&[4], 0.0))]);
    assert!(other.contains("model.mm_projector.0.bias") && other.contains("[3] instead of [4]"), "{other}");
    let missing = refused(vec![("model.mm_projector.4.bias".to_owned(), var(&[4], 0.0))]);
    assert!(missing.contains("no tensor model.mm_projector.4.bias"), "{missing}");
}

#[test]
fn the_rule_gives_up_old_checkpoints_whole() {
    let mut run = Run::new();
    for step in 1..=5 {
        run.write(step, &mut |_| Ok(())).unwrap();
    }
    let rule = CheckpointRule { every: 1, keep_last: 2, keep_best: true };
    run.state.best = Some(Best { checkpoint: "cold_start-000002".to_owned(), accuracy: 0.5 });
    run.checkpoints.keep(&rule, &run.state).unwrap();
    let kept = ["cold_start-000002", "cold_start-000004", "cold_start-000005"];
    assert_eq!(run.checkpoints.names().unwrap(), kept);
    assert_eq!(run.found(), Some(5));
}

#[test]
fn adapters_are_in_the_layout_of_peft() {
    let mut run = Run::new();
    run.write(1, &mut |_| Ok(())).unwrap();
    let folder = run.checkpoints.path("cold_start-000001");
    let tensors = files::read(&folder.join(ADAPTERS)).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    assert_eq!(tensors[name].dims(), [2, 3]);
    assert_eq!((tensors.len(), tensors[name].dtype()), (2, DType::F32));
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(ADAPTER_CONFIG)).unwrap()).unwrap();
    assert_eq!(config["r"], 2);
    assert_eq!(config["lora_alpha"], 4.0);
    assert_eq!(files::read(&folder.join(PROJECTOR)).unwrap().len(), 2);
}
