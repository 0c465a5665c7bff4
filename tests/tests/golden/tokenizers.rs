//! The ids that llama.cpp gives (`models/ggml-vocab-*.gguf.inp` and `.out` of ggml-org/llama.cpp), against those of the
//! same vocabularies in the forms in which they are published.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use reinpath_model::assembly::{Parts, add};
use reinpath_model::package::GridRule;
use reinpath_model::tokenizer::tiktoken::{QWEN_2, Ranks};
use reinpath_model::tokenizer::{read, sentencepiece};
use reinpath_tests::shared;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFC};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

/// Asserts that every text has the ids that llama.cpp gives it with this vocabulary.
fn agree(tokenizer: &Tokenizer, folder: &Path, vocabulary: &str) {
    let file = |end: &str| {
        let path = folder.join(format!("ggml-vocab/ggml-vocab-{vocabulary}.gguf.{end}"));
        std::fs::read_to_string(path).unwrap()
    };
    let (texts, ids) = (file("inp"), file("out"));
    let texts: Vec<&str> =
        texts.strip_suffix("\n__ggml_vocab_test__\n").unwrap().split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!((texts.len(), ids.len()), (46, 46));
    for (text, ids) in texts.into_iter().zip(ids) {
        let want: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let got = tokenizer.encode_fast(text, false).unwrap();
        assert_eq!(got.get_ids(), want, "{vocabulary}: {text:?}");
    }
}

#[test]
fn llama_3_gives_llama_cpps_ids_and_the_published_merges() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let file = folder.join("llama3/tokenizer.model");
    let tokenizer = read(&file).unwrap();
    agree(&tokenizer, &folder, "llama-bpe");
    for (token, id) in [
        ("<|begin_of_text|>", 128_000),
        ("<|end_of_text|>", 128_001),
        ("<|start_header_id|>", 128_006),
        ("<|end_header_id|>", 128_007),
        ("<|eom_id|>", 128_008),
        ("<|eot_id|>", 128_009),
        ("<|python_tag|>", 128_010),
        ("<|reserved_special_token_247|>", 128_255),
    ] {
        assert_eq!(tokenizer.token_to_id(token), Some(id), "{token}");
    }
    assert_eq!(tokenizer.get_vocab_size(true), 128_256);
    // What another program rebuilt from the same ranks.
    let path = |name: &str| folder.join("llama3").join(name).display().to_string();
    let theirs = BPE::read_file(&path("ollama_llama3.2_encoder.json"), &path("ollama_llama3.2_vocab.bpe"));
    let (their_vocabulary, their_merges) = theirs.unwrap();
    let ranks = Ranks::parse(&std::fs::read(&file).unwrap()).unwrap();
    let (vocabulary, merges) = ranks.vocabulary().unwrap();
    assert_eq!(vocabulary.len(), 128_000);
    assert!(vocabulary.iter().all(|(token, id)| their_vocabulary.get(token) == Some(id)));
    assert_eq!(merges.len(), their_merges.len());
    let other = merges.iter().zip(&their_merges).position(|(ours, theirs)| ours != theirs);
    assert_eq!(other, None, "the first merge that is another");
}

#[test]
fn a_tokenizer_json_of_tiktokens_ranks_gives_the_same_ids() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let tokenizer = read(&folder.join("llama3/tokenizer.model")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("tokenizer.json");
    tokenizer.save(&path, false).unwrap();
    agree(&read(&path).unwrap(), &folder, "llama-bpe");
}

#[test]
fn llama_2_gives_llama_cpps_ids_from_sentencepiece_and_from_gguf() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let tokenizer = read(&folder.join("llama2/tokenizer.model")).unwrap();
    agree(&tokenizer, &folder, "llama-spm");
    assert_eq!(tokenizer.decode(&[15043, 3186], true).unwrap(), "Hello world");
    let Some(gguf) = shared("data/weights/gguf/llama-2-tiny-random.gguf") else { return };
    agree(&read(&gguf).unwrap(), &folder, "llama-spm");
}

#[test]
fn qwen_2_gives_llama_cpps_ids() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let ranks = Ranks::parse(&std::fs::read(folder.join("qwen/qwen.tiktoken")).unwrap()).unwrap();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let mut tokenizer = ranks.tokenizer(QWEN_2, special).unwrap();
    tokenizer.with_normalizer(Some(NFC)).unwrap();
    agree(&tokenizer, &folder, "qwen2");
}

#[test]
fn qwen_2_in_a_gguf_file_gives_llama_cpps_ids() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let ranks = Ranks::parse(&std::fs::read(folder.join("qwen/qwen.tiktoken")).unwrap()).unwrap();
    let (vocabulary, merges) = ranks.vocabulary().unwrap();
    let mut plain: Vec<(u32, String)> = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
    plain.sort_unstable();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let text = |text: &str| Value::String(text.to_owned());
    let tokens = plain.iter().map(|(_, token)| text(token.as_str())).chain(special.map(text)).collect();
    let kinds = plain.iter().map(|_| 1).chain(special.map(|_| 3)).map(Value::I32).collect();
    let merges = merges.iter().map(|(left, right)| Value::String(format!("{left} {right}"))).collect();
    let metadata = [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(merges)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("qwen.gguf");
    gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
    let tokenizer = read(&path).unwrap();
    agree(&tokenizer, &folder, "qwen2");
    assert_eq!(tokenizer.token_to_id("<|im_end|>"), Some(151_645));
}

#[test]
fn bert_gives_llama_cpps_ids() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let vocabulary = folder.join("bert-base-uncased/vocab.txt").display().to_string();
    let model = WordPiece::from_file(&vocabulary).unk_token("[UNK]".to_owned()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::default())).unwrap();
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"].map(|t| AddedToken::from(t, true))).unwrap();
    agree(&tokenizer, &folder, "bert-bge");
}

#[test]
fn damaged_tokenizers_are_refused_by_a_sentence() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("tokenizer.model");
    for (name, step) in [("llama3/tokenizer.model", 400_003), ("llama2/tokenizer.model", 80_021)] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        for cut in (1..bytes.len()).step_by(step) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            // A list that is cut between two lines, or a model between two pieces, may still be one.
            if let Err(error) = read(&path) {
                let error = error.to_string();
                assert!(error.ends_with("tokenizer.model") && error.lines().count() == 1, "{error}");
            }
        }
    }
    let whole = std::fs::read(folder.join("llama2/tokenizer.model")).unwrap();
    let pieces = sentencepiece::pieces(&whole).unwrap();
    assert_eq!(
        (pieces.len(), pieces[0].text.as_str(), pieces[31_999].text.as_str()),
        (32_000, "<unk>", "给")
    );
}

#[test]
fn a_llama_2_is_refused_because_its_tokenizer_lacks_the_templates_tokens() {
    let Some(file) = shared("data/weights/gguf/llama-2-tiny-random.gguf") else { return };
    let Some(conch) = shared("data/weights/conch-seeded/pytorch_model.bin") else { return };
    let out = tempfile::tempdir().unwrap();
    let parts = Parts {
        name: "llama-2".to_owned(),
        language: file,
        vision: None,
        conch: Some(conch),
        uni: None,
        projector: None,
        adapters: Vec::new(),
        grid: GridRule::UniAtConch,
        tokenizer: None,
        licence: None,
        copy: true,
    };
    let error = add(&parts, &out.path().join("made")).unwrap_err().to_string();
    assert!(error.contains("<|begin_of_text|>") && error.ends_with("llama-2-tiny-random.gguf"), "{error}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
