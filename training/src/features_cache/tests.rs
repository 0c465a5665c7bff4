//! The cache against the model itself, and against damage.

use reinpath_model::fixture::{Speech, write_package};
use reinpath_model::package::Package;

use super::*;

/// A folder of pictures, of which the third is a copy of the first.
fn pictures() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..4).map(|i| folder.path().join(format!("{i}.png"))).collect();
    for (i, path) in paths.iter().enumerate() {
        let tone = (i % 2 + i / 3 * 2) as u8;
        let pixel = |x: u32, y: u32| image::Rgb([x as u8 * 7, y as u8 * 5, tone * 60]);
        image::RgbImage::from_fn(32, 32, pixel).save(path).unwrap();
    }
    (folder, paths)
}

fn prepared(model: &ReinPath, images: &[PathBuf], folder: &Path) -> Prepared {
    prepare(model, images, folder, &mut |_, _| Ok(())).unwrap()
}

/// To compare them to the last bit: that is what the cache promises.
fn bits(features: &[f32]) -> Vec<u32> {
    features.iter().map(|value| value.to_bits()).collect()
}

fn file_in(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// A tiny model whose package stays where it is: the cache reads the encoders' files.
fn model() -> (tempfile::TempDir, ReinPath) {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), Speech::Babble(2)).unwrap();
    let package = Package::open(folder.path()).unwrap();
    let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap();
    (folder, model)
}

#[test]
fn features_are_those_of_the_model_and_computed_once() {
    let ((_package, model), (folder, images), cache) = (model(), pictures(), tempfile::tempdir().unwrap());
    let mut told = Vec::new();
    let first = prepare(&model, &images, cache.path(), &mut |done, computed| {
        told.push((done, computed));
        Ok(())
    });
    let first = first.unwrap();
    assert_eq!((first.computed, first.damaged, first.faults.len()), (3, 0, 0));
    assert_eq!(told, [(4, 3)], "a copy is not computed again");
    assert_eq!(first.features.shape(), ImageShape { tokens: 4, channels: 20 });
    for (number, path) in images.iter().enumerate() {
        let patch = patch_of(&model, path).unwrap();
        let want = model.features(&[patch]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let got = first.features.of(number).unwrap();
        assert_eq!(bits(&got), bits(&want), "image {number}");
    }
    assert_eq!(first.features.of(0).unwrap(), first.features.of(2).unwrap());
    assert_ne!(first.features.of(0).unwrap(), first.features.of(1).unwrap());
    assert_eq!(first.features.tensor(&[3, 0]).unwrap().dims(), [2, 4, 20]);
    // Numbers are those of this call, whatever the file has.
    let second = prepared(&model, &[images[3].clone(), images[1].clone()], cache.path());
    assert_eq!((second.computed, second.features.len()), (0, 2));
    assert_eq!(second.features.of(0).unwrap(), first.features.of(3).unwrap());
    drop(folder);
}

#[test]
fn a_damaged_cache_is_mended_and_gives_the_same() {
    let ((_package, model), (_folder, images), cache) = (model(), pictures(), tempfile::tempdir().unwrap());
    let whole = prepared(&model, &images, cache.path()).features;
    let want: Vec<Vec<u32>> = (0..4).map(|i| bits(&whole.of(i).unwrap())).collect();
    let file = file_in(cache.path());
    let bytes = std::fs::read(&file).unwrap();
    let record = 2 * HASH + 4 * 80;
    assert_eq!(bytes.len(), BEGIN.len() + 3 * record);
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let second = BEGIN.len() + record;
    let cases = [
        ("a value", changed(second + HASH + 5), 1, 1),
        ("a checksum", changed(second + record - 1), 1, 1),
        ("a hash", changed(second + 3), 1, 0),
        ("the beginning", changed(0), 3, 0),
        ("cut in a record", bytes[..second + 40].to_vec(), 2, 0),
        ("cut in the beginning", bytes[..7].to_vec(), 3, 0),
        ("a tail", [&bytes[..], b"tail"].concat(), 0, 0),
        ("nothing", Vec::new(), 3, 0),
    ];
    for (what, bytes, computed, damaged) in cases {
        std::fs::write(&file, bytes).unwrap();
        let mended = prepared(&model, &images, cache.path());
        assert_eq!((mended.computed, mended.damaged), (computed, damaged), "{what}");
        let got: Vec<Vec<u32>> = (0..4).map(|i| bits(&mended.features.of(i).unwrap())).collect();
        assert_eq!(got, want, "{what}");
        let again = prepared(&model, &images, cache.path());
        assert_eq!((again.computed, again.damaged), (0, 0), "{what}: mended for good");
    }
}

#[test]
fn what_is_damaged_while_in_use_is_an_error_and_no_wrong_number() {
    let ((_package, model), (_folder, images), cache) = (model(), pictures(), tempfile::tempdir().unwrap());
    let features = prepared(&model, &images, cache.path()).features;
    let file = file_in(cache.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[BEGIN.len() + HASH + 1] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = features.of(0).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.ends_with(".features"), "{error}");
    assert!(features.of(1).is_ok());
    assert!(features.of(9).unwrap_err().to_string().contains("image 9"));
}

#[test]
fn images_that_cannot_be_read_are_faults_with_their_path() {
    let ((_package, model), (folder, mut images), cache) =
        (model(), pictures(), tempfile::tempdir().unwrap());
    let (missing, broken) = (folder.path().join("missing.png"), folder.path().join("broken.png"));
    std::fs::write(&broken, "no picture").unwrap();
    images.extend([missing, broken.clone(), broken]);
    let prepared = prepared(&model, &images, cache.path());
    let numbers: Vec<usize> = prepared.faults.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [4, 5, 6]);
    for ((number, error), name) in prepared.faults.iter().zip(["missing.png", "broken.png", "broken.png"]) {
        assert!(error.to_string().ends_with(name), "{error}");
        assert!(!prepared.features.has(*number) && prepared.features.of(*number).is_err());
    }
    assert!(prepared.features.has(3));
}

#[test]
fn other_encoders_have_a_cache_of_their_own_and_an_error_of_the_watch_ends_the_work() {
    let ((package, model), (_folder, images), cache) = (model(), pictures(), tempfile::tempdir().unwrap());
    let own = key(&model).unwrap();
    assert_eq!(key(&model).unwrap(), own);
    let weights = package.path().join("uni.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert_ne!(key(&model).unwrap(), own);
    let stopped = prepare(&model, &images, cache.path(), &mut |_, _| Err(Error::Stopped));
    assert!(matches!(stopped, Err(Error::Stopped)));
    // What was computed until then is there, and the file is free again.
    assert_eq!(prepared(&model, &images, cache.path()).computed, 0);
}
