//! A folder with a small random GPT-2 checkpoint that reads a few words, and the command in it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use microtome::model::{LoadOptions, Processing};
use microtome::{Record, TextModel};
use serde_json::json;
use tempfile::TempDir;

pub const N_LAYERS: usize = 2;
pub const N_HEADS: usize = 3;
pub const D_MODEL: usize = 12;
pub const N_CTX: usize = 64;

/// Words of the vocabulary that are one token each; other text is read letter by letter.
const WORDS: [&str; 9] = [" Mary", " John", " gave", " the", " ball", " to", " and", " went", " France"];

/// Two prompts that differ in one token: a clean and a corrupt one.
pub const CLEAN: &str = "a Mary and John went to the ball and John gave the ball to";
pub const CORRUPT: &str = "a Mary and John went to the ball and Mary gave the ball to";

/// A temporary folder with a model in `model/`.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    /// With a small MLP.
    pub fn new() -> Bench {
        Bench::with_neurons(4 * D_MODEL)
    }

    /// With so many neurons to a layer.
    pub fn with_neurons(d_mlp: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(&dir.path().join("model"), d_mlp);
        Bench { dir }
    }

    /// The folder commands run in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn record(&self, name: &str) -> Record {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Names of all files in the folder but the model, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "model").collect();
        names.sort();
        names
    }

    /// The command in this folder, with the model in `MICROTOME_MODEL` and no network.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microtome"));
        command
            .current_dir(self.dir())
            .env("MICROTOME_MODEL", "model")
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.path("no-hub"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HUGGINGFACE_HUB_CACHE");
        command
    }

    /// Standard output of a command that succeeds and complains of nothing.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaint.is_empty(), "{args:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The record a command prints with `--json`.
    pub fn run_record(&self, args: &[&str]) -> Record {
        serde_json::from_str(&self.run(&[args, &["--json"]].concat())).unwrap()
    }

    /// The complaint of a command that fails, which prints nothing and leaves no file behind.
    pub fn refusal(&self, args: &[&str]) -> String {
        let before = self.files();
        let output = self.command().args(args).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?} succeeded");
        assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{args:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{args:?} printed {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(self.files(), before, "{args:?} left files behind");
        assert!(complaint.starts_with("error: "), "{complaint}");
        complaint
    }

    /// The same model in this process.
    pub fn model(&self, processing: Processing) -> TextModel {
        let spec = self.path("model").to_str().unwrap().to_owned();
        TextModel::load(&spec, processing, &LoadOptions::default(), &mut ()).unwrap()
    }
}

/// A GPT-2 checkpoint as Hugging Face writes it, with `vocab.json` and `merges.txt`.
fn write_checkpoint(dir: &Path, d_mlp: usize) {
    std::fs::create_dir(dir).unwrap();
    let (vocab, merges) = vocabulary();
    let config = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "n_layer": N_LAYERS, "n_head": N_HEADS, "n_embd": D_MODEL, "n_positions": N_CTX, "n_inner": d_mlp,
        "vocab_size": vocab.len(), "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0,
    });
    let ids: serde_json::Map<_, _> =
        vocab.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    write("config.json", config.to_string());
    write("vocab.json", serde_json::Value::Object(ids).to_string());
    write("merges.txt", merges.iter().fold("#version: 0.2\n".to_owned(), |text, merge| text + merge + "\n"));

    let d = D_MODEL;
    let mut tensors = vec![
        ("wte.weight".to_owned(), vec![vocab.len(), d]),
        ("wpe.weight".to_owned(), vec![N_CTX, d]),
        ("ln_f.weight".to_owned(), vec![d]),
        ("ln_f.bias".to_owned(), vec![d]),
    ];
    for layer in 0..N_LAYERS {
        let block = [
            ("ln_1.weight", vec![d]),
            ("ln_1.bias", vec![d]),
            ("attn.c_attn.weight", vec![d, 3 * d]),
            ("attn.c_attn.bias", vec![3 * d]),
            ("attn.c_proj.weight", vec![d, d]),
            ("attn.c_proj.bias", vec![d]),
            ("ln_2.weight", vec![d]),
            ("ln_2.bias", vec![d]),
            ("mlp.c_fc.weight", vec![d, d_mlp]),
            ("mlp.c_fc.bias", vec![d_mlp]),
            ("mlp.c_proj.weight", vec![d_mlp, d]),
            ("mlp.c_proj.bias", vec![d]),
        ];
        tensors.extend(block.map(|(name, shape)| (format!("h.{layer}.{name}"), shape)));
    }
    std::fs::write(dir.join("model.safetensors"), safetensors(&tensors)).unwrap();
}

/// Tokens by id, and the merges that make the words.
fn vocabulary() -> (Vec<String>, Vec<String>) {
    let mut vocab = vec!["<|endoftext|>".to_owned()];
    let letters = ('a'..='z').chain(['F', 'J', 'M', '.', ',', '!', 'Ġ', 'Ċ']);
    vocab.extend(letters.map(String::from));
    let mut merges = Vec::new();
    for word in WORDS {
        let mut made = "Ġ".to_owned();
        for letter in word.trim_start().chars() {
            let merge = format!("{made} {letter}");
            made.push(letter);
            if !merges.contains(&merge) {
                merges.push(merge);
                vocab.push(made.clone());
            }
        }
    }
    (vocab, merges)
}

/// A safetensors file of values that are random, and the same every time.
fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for (name, shape) in tensors {
        let start = data.len();
        for _ in 0..shape.iter().product::<usize>() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            data.extend(value.to_le_bytes());
        }
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}
