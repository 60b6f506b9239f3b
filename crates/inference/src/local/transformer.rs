//! The forward pass of a BERT encoder.
//!
//! Matrix products are candle's. What lies between them (biases, softmax, GELU, layer norms) is done here in place, each
//! in one pass over the numbers: as separate tensor operations they cost more than the products, because every one
//! allocates its result anew. The windows of a batch lie one behind the other without padding, so that a batch of unequal
//! lengths wastes nothing; only attention looks at them one by one.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::math;

/// The parts of `config.json` that shape the computation.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Configuration {
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) layer_norm_eps: f32,
    pub(crate) hidden_act: String,
    pub(crate) model_type: Option<String>,
    pub(crate) position_embedding_type: Option<String>,
}

impl Configuration {
    /// What of this configuration cannot be computed here, if anything.
    pub(crate) fn unsupported(&self) -> Option<String> {
        let kind = self.model_type.as_deref().unwrap_or("bert");
        let positions = self.position_embedding_type.as_deref().unwrap_or("absolute");
        if kind != "bert" {
            return Some(format!("models of type {kind} are not supported, only bert"));
        }
        if self.hidden_act != "gelu" {
            return Some(format!(
                "the activation {} is not supported, only gelu",
                self.hidden_act
            ));
        }
        if positions != "absolute" {
            return Some(format!(
                "positions of type {positions} are not supported, only absolute"
            ));
        }
        let heads = self.num_attention_heads;
        if heads == 0 || self.hidden_size == 0 || !self.hidden_size.is_multiple_of(heads) {
            return Some("the hidden size is no multiple of the number of attention heads".into());
        }
        None
    }
}

/// Weights, ready to be used.
pub(crate) struct Transformer {
    words: Tensor,
    /// Position plus segment 0, of which all text here is.
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
}

struct Layer {
    /// Query, key and value in one product; the query already divided by the root of the head's size.
    attention: Linear,
    attention_output: Tensor,
    attention_norm: Norm,
    intermediate: Linear,
    output: Tensor,
    output_norm: Norm,
}

/// A product `x · weights` followed by a bias.
struct Linear {
    /// Inputs by outputs (stored the other way round).
    weights: Tensor,
    bias: Vec<f32>,
}

/// Bias and residual are added, then each row is brought to mean 0 and variance 1, scaled and shifted.
struct Norm {
    bias: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    epsilon: f32,
}

/// Takes tensors out of the file's map and checks their shapes.
struct Source<'a> {
    tensors: &'a mut HashMap<String, Tensor>,
    prefix: &'static str,
}

impl Source<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let Some(tensor) = self.tensors.remove(&name) else {
            bail!("there is no tensor {name}");
        };
        if tensor.dims() != shape {
            bail!(
                "the tensor {name} has the shape {:?} instead of {shape:?}",
                tensor.dims()
            );
        }
        Ok(tensor)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        self.take(name, &[length])?.to_vec1()
    }

    /// The weights of a layer, transposed (as a view).
    fn weights(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Tensor> {
        self.take(&format!("{name}.weight"), &[outputs, inputs])?.t()
    }

    fn norm(&mut self, name: &str, bias: Vec<f32>, configuration: &Configuration) -> Result<Norm> {
        let size = configuration.hidden_size;
        // Very old files call scale and shift gamma and beta.
        let (scale, shift) = if self.tensors.contains_key(&format!("{}{name}.gamma", self.prefix)) {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        Ok(Norm {
            bias,
            scale: self.vector(&format!("{name}.{scale}"), size)?,
            shift: self.vector(&format!("{name}.{shift}"), size)?,
            epsilon: configuration.layer_norm_eps,
        })
    }
}

impl Transformer {
    /// Takes the weights out of `tensors`.
    pub(crate) fn new(configuration: &Configuration, tensors: &mut HashMap<String, Tensor>) -> Result<Self> {
        let prefix = if tensors.contains_key("bert.embeddings.word_embeddings.weight") {
            "bert."
        } else {
            ""
        };
        let mut source = Source { tensors, prefix };
        let hidden = configuration.hidden_size;
        let word_count = match source
            .tensors
            .get(&format!("{prefix}embeddings.word_embeddings.weight"))
        {
            Some(words) => words.dim(0)?,
            None => 0,
        };
        let words = source.take("embeddings.word_embeddings.weight", &[word_count, hidden])?;
        let positions = source.take(
            "embeddings.position_embeddings.weight",
            &[configuration.max_position_embeddings, hidden],
        )?;
        let segments = match source
            .tensors
            .get(&format!("{prefix}embeddings.token_type_embeddings.weight"))
        {
            Some(segments) => segments.dim(0)?,
            None => 0,
        };
        let segments = source.take("embeddings.token_type_embeddings.weight", &[segments, hidden])?;
        let positions = positions.broadcast_add(&segments.narrow(0, 0, 1)?)?;
        let embedding_norm = source.norm("embeddings.LayerNorm", vec![0.0; hidden], configuration)?;
        let layers = (0..configuration.num_hidden_layers)
            .map(|number| Layer::new(&mut source, &format!("encoder.layer.{number}"), configuration))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            words,
            positions,
            embedding_norm,
            layers,
            heads: configuration.num_attention_heads,
        })
    }

    /// The mean of each window's token vectors. No window may be empty or longer than the positions.
    pub(crate) fn mean_vectors(&self, windows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let mut ranges = Vec::with_capacity(windows.len());
        let mut ids = Vec::new();
        let mut places = Vec::new();
        for window in windows {
            ranges.push(ids.len()..ids.len() + window.len());
            ids.extend_from_slice(window);
            places.extend(0..window.len() as u32);
        }
        let count = ids.len();
        let ids = Tensor::from_vec(ids, count, &Device::Cpu)?;
        let places = Tensor::from_vec(places, count, &Device::Cpu)?;
        let hidden = self.words.index_select(&ids, 0)?;
        hidden.inplace_op2(&self.positions.index_select(&places, 0)?, &self.embedding_norm)?;
        let hidden = self.layers.iter().try_fold(hidden, |hidden, layer| {
            layer.forward(&hidden, &ranges, self.heads)
        })?;
        ranges
            .iter()
            .map(|range| hidden.narrow(0, range.start, range.len())?.mean(0)?.to_vec1())
            .collect()
    }
}

impl Layer {
    fn new(source: &mut Source<'_>, name: &str, configuration: &Configuration) -> Result<Self> {
        let hidden = configuration.hidden_size;
        let inner = configuration.intermediate_size;
        let per_head = (hidden / configuration.num_attention_heads) as f64;
        let mut attention_weights = Vec::with_capacity(3);
        let mut attention_bias = Vec::with_capacity(3 * hidden);
        for (part, factor) in [("query", 1.0 / per_head.sqrt()), ("key", 1.0), ("value", 1.0)] {
            let part = format!("{name}.attention.self.{part}");
            let weights = source.take(&format!("{part}.weight"), &[hidden, hidden])?;
            attention_weights.push((weights * factor)?);
            let bias = source.vector(&format!("{part}.bias"), hidden)?;
            attention_bias.extend(bias.iter().map(|value| value * factor as f32));
        }
        let after_attention = source.vector(&format!("{name}.attention.output.dense.bias"), hidden)?;
        let after_output = source.vector(&format!("{name}.output.dense.bias"), hidden)?;
        Ok(Self {
            attention: Linear {
                weights: Tensor::cat(&attention_weights, 0)?.t()?,
                bias: attention_bias,
            },
            attention_output: source.weights(&format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: source.norm(
                &format!("{name}.attention.output.LayerNorm"),
                after_attention,
                configuration,
            )?,
            intermediate: Linear {
                weights: source.weights(&format!("{name}.intermediate.dense"), hidden, inner)?,
                bias: source.vector(&format!("{name}.intermediate.dense.bias"), inner)?,
            },
            output: source.weights(&format!("{name}.output.dense"), inner, hidden)?,
            output_norm: source.norm(&format!("{name}.output.LayerNorm"), after_output, configuration)?,
        })
    }

    fn forward(&self, hidden: &Tensor, ranges: &[Range<usize>], heads: usize) -> Result<Tensor> {
        let projected = hidden.matmul(&self.attention.weights)?;
        projected.inplace_op1(&AddBias(&self.attention.bias))?;
        let contexts = ranges
            .iter()
            .map(|range| attend(&projected.narrow(0, range.start, range.len())?, heads))
            .collect::<Result<Vec<_>>>()?;
        let attended = Tensor::cat(&contexts, 0)?.matmul(&self.attention_output)?;
        attended.inplace_op2(hidden, &self.attention_norm)?;

        let inner = attended.matmul(&self.intermediate.weights)?;
        inner.inplace_op1(&AddBiasThenGelu(&self.intermediate.bias))?;
        let output = inner.matmul(&self.output)?;
        output.inplace_op2(&attended, &self.output_norm)?;
        Ok(output)
    }
}

/// Self-attention of one window. `projected` holds query, key and value of each token side by side.
fn attend(projected: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = projected.dims2()?;
    let hidden = width / 3;
    let part = |number: usize| -> Result<Tensor> {
        // A view: heads × tokens × numbers of a head.
        projected
            .reshape((tokens, 3, heads, hidden / heads))?
            .narrow(1, number, 1)?
            .squeeze(1)?
            .transpose(0, 1)
    };
    let scores = part(0)?.matmul(&part(1)?.transpose(1, 2)?)?;
    scores.inplace_op1(&SoftmaxRows)?;
    scores
        .matmul(&part(2)?)?
        .transpose(0, 1)?
        .reshape((tokens, hidden))
}

/// Rows that one task works on: enough to be worth a task.
const NUMBERS_PER_TASK: usize = 32 * 1024;

/// Applies `work` to every row of `width` numbers.
fn for_each_row(numbers: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (NUMBERS_PER_TASK / width.max(1)).max(1);
    numbers
        .par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(chunk, numbers)| {
            for (row, numbers) in numbers.chunks_exact_mut(width).enumerate() {
                work(chunk * rows + row, numbers);
            }
        });
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&mut numbers[start..end]),
        _ => bail!("32-bit numbers without gaps are expected"),
    }
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("32-bit numbers without gaps are expected"),
    }
}

struct AddBias<'a>(&'a [f32]);

impl InplaceOp1 for AddBias<'_> {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        for_each_row(numbers_mut(storage, layout)?, self.0.len(), |_, row| {
            for (value, bias) in row.iter_mut().zip(self.0) {
                *value += bias;
            }
        });
        Ok(())
    }
}

struct AddBiasThenGelu<'a>(&'a [f32]);

impl InplaceOp1 for AddBiasThenGelu<'_> {
    fn name(&self) -> &'static str {
        "add-bias-then-gelu"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        for_each_row(numbers_mut(storage, layout)?, self.0.len(), |_, row| {
            for (value, bias) in row.iter_mut().zip(self.0) {
                *value = math::gelu(*value + bias);
            }
        });
        Ok(())
    }
}

struct SoftmaxRows;

impl InplaceOp1 for SoftmaxRows {
    fn name(&self) -> &'static str {
        "softmax-rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(1);
        for_each_row(numbers_mut(storage, layout)?, width, |_, row| math::softmax(row));
        Ok(())
    }
}

impl InplaceOp2 for Norm {
    fn name(&self) -> &'static str {
        "bias-residual-norm"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<()> {
        let width = self.bias.len();
        let residual = numbers(residual, residual_layout)?;
        for_each_row(numbers_mut(storage, layout)?, width, |number, row| {
            let residual = &residual[number * width..(number + 1) * width];
            for ((value, bias), residual) in row.iter_mut().zip(&self.bias).zip(residual) {
                *value += bias + residual;
            }
            let mean = math::sum(row) / width as f32;
            for value in row.iter_mut() {
                *value -= mean;
            }
            let variance = math::sum_of_squares(row) / width as f32;
            let factor = 1.0 / (variance + self.epsilon).sqrt();
            for ((value, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                *value = *value * factor * scale + shift;
            }
        });
        Ok(())
    }
}
