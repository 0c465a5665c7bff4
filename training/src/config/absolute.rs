//! A run's paths made independent of the folder it is started from, so that it can be resumed from any.

use std::path::PathBuf;

use super::{DataSource, RunConfig};
use crate::error::{Error, Result};

impl RunConfig {
    /// The same configuration with absolute paths. Links are not followed, and nothing need be there.
    pub fn absolute(mut self) -> Result<Self> {
        absolute(&mut self.base)?;
        if let Some(alignment) = &mut self.alignment {
            sources(&mut alignment.data)?;
            alignment.questions.as_mut().map_or(Ok(()), absolute)?;
        }
        if let Some(cold_start) = &mut self.cold_start {
            sources(&mut cold_start.data)?;
        }
        if let Some(grpo) = &mut self.grpo {
            sources(&mut grpo.data)?;
            grpo.reward.text_encoder.as_mut().map_or(Ok(()), absolute)?;
        }
        sources(&mut self.evaluation.data)?;
        Ok(self)
    }
}

fn sources(sources: &mut [DataSource]) -> Result<()> {
    sources.iter_mut().try_for_each(|source| absolute(&mut source.folder))
}

fn absolute(path: &mut PathBuf) -> Result<()> {
    *path = std::path::absolute(&path).map_err(Error::io(path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_run_becomes_absolute() {
        let text = r#"
            name = "a"
            seed = 1
            base = "base"
            [alignment]
            data = [{ folder = "one" }]
            questions = "questions.txt"
            optimisation = {}
            [cold_start]
            data = [{ folder = "two" }]
            optimisation = {}
            [grpo]
            data = [{ folder = "three" }]
            optimisation = {}
            reward = { text_encoder = "encoder" }
            [evaluation]
            data = [{ folder = "four", split = "test" }]
        "#;
        let config: RunConfig = toml::from_str(text).unwrap();
        let absolute = config.clone().absolute().unwrap();
        let written = toml::to_string(&absolute).unwrap();
        let here = std::env::current_dir().unwrap();
        for name in ["base", "one", "two", "three", "four", "questions.txt", "encoder"] {
            let path = toml::Value::from(here.join(name).to_str().unwrap()).to_string();
            assert!(written.contains(&path), "{name}: {written}");
        }
        assert_eq!(absolute.clone().absolute().unwrap(), absolute);
        assert_eq!(toml::from_str::<RunConfig>(&written).unwrap(), absolute);
    }
}
