//! What loading takes at its highest: the model that comes of it, whatever the format of 16 bits that it is stored in.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::llama::{Llama, LlamaConfig};
use reinpath_model::weights::gguf::Gguf;
use reinpath_model::weights::quantise::{Recipe, quantise};
use reinpath_model::weights::{Size, Weights};

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe by signature")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is allocated beside the model: names, headers, threads. Less than half of its last large matrix.
const SMALL: usize = 512 << 10;

/// A Llama whose matrices no block of a quantised kind fits, so that GGUF holds them in f16.
fn config() -> LlamaConfig {
    let config = serde_json::json!({
        "hidden_size": 272, "intermediate_size": 1040, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 500, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
    });
    serde_json::from_value(config).unwrap()
}

/// Fails where loading took more at any moment than what it gave.
fn is_lean(what: &str, load: impl FnOnce() -> (Llama, Size)) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let (_llama, size) = load();
    let most = MOST.load(Ordering::Relaxed) - before;
    let result = size.memory as usize;
    assert!(most >= result, "{what}: {most} bytes at most for a model of {result}");
    assert!(most <= result + SMALL, "{what}: {most} bytes at most for a model of {result}");
}

/// Meta's two files of a model: its tensors' names, and along which axis they are split.
fn meta(tensors: &BTreeMap<String, Tensor>, folder: &Path) -> Vec<PathBuf> {
    const PARTS: [(&str, &str, Option<usize>); 12] = [
        ("self_attn.q_proj", "attention.wq", Some(0)),
        ("self_attn.k_proj", "attention.wk", Some(0)),
        ("self_attn.v_proj", "attention.wv", Some(0)),
        ("self_attn.o_proj", "attention.wo", Some(1)),
        ("mlp.gate_proj", "feed_forward.w1", Some(0)),
        ("mlp.down_proj", "feed_forward.w2", Some(1)),
        ("mlp.up_proj", "feed_forward.w3", Some(0)),
        ("input_layernorm", "attention_norm", None),
        ("post_attention_layernorm", "ffn_norm", None),
        ("model.embed_tokens", "tok_embeddings", Some(0)),
        ("model.norm", "norm", None),
        ("lm_head", "output", Some(0)),
    ];
    let mut files = vec![HashMap::new(); 2];
    for (name, tensor) in tensors {
        let (own, metas, axis) = PARTS.into_iter().find(|(own, _, _)| name.contains(own)).unwrap();
        let name = name.replace("model.layers.", "layers.").replace(own, metas);
        for (i, file) in files.iter_mut().enumerate() {
            let part = match axis {
                Some(axis) => tensor.chunk(2, axis).unwrap()[i].contiguous().unwrap(),
                None => tensor.clone(),
            };
            file.insert(name.clone(), part);
        }
    }
    let write = |(i, file): (usize, &HashMap<String, Tensor>)| {
        let path = folder.join(format!("consolidated.{i:02}.pth"));
        safetensors::save(file, &path).unwrap();
        path
    };
    files.iter().enumerate().map(write).collect()
}

// One test, as what is counted is of the whole process.
#[test]
fn loading_holds_no_copy_of_a_tensor_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let map = VarMap::new();
    Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config).unwrap();
    let whole = folder.path().join("whole.safetensors");
    map.save(&whole).unwrap();
    drop(map);
    let file = folder.path().join("tiny.gguf");
    let weights = Weights::open(std::slice::from_ref(&whole)).unwrap();
    quantise(&weights, &config, Recipe::Q8_0, &file, &mut |_| true).unwrap();
    let tensors: BTreeMap<String, Tensor> = safetensors::load(&whole, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap()))
        .collect();
    let halves = folder.path().join("halves.safetensors");
    let saved: HashMap<String, Tensor> = tensors.clone().into_iter().collect();
    safetensors::save(&saved, &halves).unwrap();
    let shards = meta(&tensors, folder.path());
    drop((tensors, saved, weights));

    let load = |weights: Weights| weights.build(&Device::Cpu, |vb| Llama::load(&vb, &config)).unwrap();
    // What is made once for the process is not the model's.
    drop(load(Weights::open(std::slice::from_ref(&whole)).unwrap()));
    is_lean("safetensors", || load(Weights::open(&[halves]).unwrap()));
    is_lean("Meta's two files", || load(Weights::open_meta(&shards, &config).unwrap()));
    is_lean("GGUF", || {
        let gguf = Arc::new(Gguf::open(&file).unwrap());
        gguf.build(&Device::Cpu, &config, |tensors| Llama::load(tensors, &config)).unwrap()
    });
}
