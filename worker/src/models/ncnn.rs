//! Reads ncnn's text of a network (`.param`) and its weights (`.bin`), the layers that our networks use and no others.
//!
//! Promise: the text is read to its last line and the weights to their last byte, or it is an error.

use std::collections::HashMap;

/// First line of every `.param`.
const MAGIC: &str = "7767517";
/// In front of weights stored as half floats; 0 stands in front of whole ones.
const HALF: u32 = 0x0130_6b47;

/// One layer. Blobs (the values between layers) are numbered by their first appearance.
#[derive(Debug)]
pub struct Layer {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

#[derive(Debug)]
pub enum Op {
    Input,
    /// The same blob under several names.
    Split,
    /// 3 × 3, stride 1, zeros outside. `weight` is [outputs][inputs][3][3].
    Convolution {
        outputs: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    /// One slope per channel for what is below zero.
    Prelu {
        slope: Vec<f32>,
    },
    /// Depth to space, channel-major as PyTorch's `pixel_shuffle`.
    PixelShuffle {
        factor: usize,
    },
    /// Repeats each pixel `factor` times in both directions.
    NearestResize {
        factor: f32,
    },
    /// Bicubic (a = -0.75, half-pixel centres, no low-pass) by `factor` in both directions.
    BicubicResize {
        factor: f32,
    },
    Add,
}

/// The layers in the order of the file, which is an order of evaluation.
pub fn read(param: &str, bin: &[u8]) -> Result<Vec<Layer>, String> {
    let mut lines = param.lines();
    if lines.next() != Some(MAGIC) {
        return Err("not an ncnn network: the first line is not its magic number".into());
    }
    let counts = lines.next().ok_or("the line with the counts is missing")?;
    let counts: Vec<usize> = counts.split_whitespace().map(|n| n.parse().map_err(|_| "a count is no number")).collect::<Result<_, _>>()?;
    let &[layer_count, blob_count] = &counts[..] else {
        return Err("the second line must have two counts".into());
    };

    let mut blobs = HashMap::new();
    let mut weights = Weights { left: bin };
    let mut layers = Vec::new();
    for line in lines {
        let layer = read_layer(line, &mut blobs, &mut weights).map_err(|why| format!("layer {}: {why}", layers.len() + 1))?;
        layers.push(layer);
    }
    if layers.len() != layer_count || blobs.len() != blob_count {
        return Err(format!("{layer_count} layers and {blob_count} blobs are announced, {} and {} found", layers.len(), blobs.len()));
    }
    if !weights.left.is_empty() {
        return Err(format!("{} bytes of weights are left over", weights.left.len()));
    }
    Ok(layers)
}

fn read_layer(line: &str, blobs: &mut HashMap<String, usize>, weights: &mut Weights) -> Result<Layer, String> {
    let mut words = line.split_whitespace();
    let mut word = || words.next().ok_or("the line is short");
    let (kind, name) = (word()?, word()?.to_owned());
    let count = |n: &str| n.parse::<usize>().ok().filter(|&n| n <= 64).ok_or("a count of blobs is no small number");
    let (input_count, output_count) = (count(word()?)?, count(word()?)?);
    let mut inputs = Vec::with_capacity(input_count);
    for _ in 0..input_count {
        let blob = word()?;
        inputs.push(*blobs.get(blob).ok_or_else(|| format!("{blob} is used before it is made"))?);
    }
    let mut outputs = Vec::with_capacity(output_count);
    for _ in 0..output_count {
        let number = blobs.len();
        if blobs.insert(word()?.to_owned(), number).is_some() {
            return Err("a blob is made twice".into());
        }
        outputs.push(number);
    }
    let settings: Settings = Settings(words.map(|w| w.split_once('=').ok_or_else(|| format!("{w} is no setting"))).collect::<Result<_, _>>()?);
    let op = read_op(kind, &settings, weights).map_err(|why| format!("{kind} {name}: {why}"))?;
    Ok(Layer { name, op, inputs, outputs })
}

fn read_op(kind: &str, settings: &Settings, weights: &mut Weights) -> Result<Op, String> {
    match kind {
        "Input" => settings.only(&[]).map(|()| Op::Input),
        "Split" => settings.only(&[]).map(|()| Op::Split),
        "Convolution" => {
            settings.only(&["0", "1", "4", "5", "6"])?;
            let (outputs, kernel, pad) = (settings.number("0")?, settings.number("1")?, settings.number("4")?);
            let (has_bias, size) = (settings.number("5")?, settings.number("6")?);
            if (kernel, pad, has_bias) != (3, 1, 1) || outputs == 0 || size % (outputs * 9) != 0 {
                return Err("only 3 × 3 with one pixel of zeros around and a bias is known".into());
            }
            let weight = weights.tagged(size)?;
            let bias = weights.floats(outputs)?;
            Ok(Op::Convolution { outputs, weight, bias })
        }
        "PReLU" => {
            settings.only(&["0"])?;
            Ok(Op::Prelu { slope: weights.floats(settings.number("0")?)? })
        }
        "PixelShuffle" => {
            settings.only(&["0"])?;
            Ok(Op::PixelShuffle { factor: settings.number("0")? })
        }
        "Interp" => {
            settings.only(&["0", "1", "2"])?;
            let factor = settings.float("1")?;
            if settings.float("2")? != factor || factor.is_nan() || factor <= 0.0 {
                return Err("the two factors differ or make no sense".into());
            }
            match settings.number("0")? {
                1 => Ok(Op::NearestResize { factor }),
                3 => Ok(Op::BicubicResize { factor }),
                mode => Err(format!("resize mode {mode} is not known")),
            }
        }
        // Without settings it adds its two inputs.
        "BinaryOp" => settings.only(&[]).map(|()| Op::Add),
        _ => Err("this layer is not known".into()),
    }
}

/// `key=value` pairs of a layer's line.
struct Settings<'a>(Vec<(&'a str, &'a str)>);

impl Settings<'_> {
    /// A setting that we don't know could change the meaning of the layer, so it is refused.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.0.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, value)) => Err(format!("the setting {key}={value} is not known")),
            None => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, v)| *v).ok_or_else(|| format!("the setting {key} is missing"))
    }

    fn number(&self, key: &str) -> Result<usize, String> {
        self.text(key)?.parse().map_err(|_| format!("the setting {key} is no whole number"))
    }

    fn float(&self, key: &str) -> Result<f32, String> {
        self.text(key)?.parse().map_err(|_| format!("the setting {key} is no number"))
    }
}

/// What is left of the weights' bytes.
struct Weights<'a> {
    left: &'a [u8],
}

impl Weights<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let (taken, left) = self.left.split_at_checked(count).ok_or("the weights end too early")?;
        self.left = left;
        Ok(taken)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.take(count.checked_mul(4).ok_or("a size is out of range")?)?;
        Ok(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    /// A blob with a tag in front that says how its numbers are stored; half floats are padded to four bytes.
    fn tagged(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let tag = self.take(4)?;
        match u32::from_le_bytes([tag[0], tag[1], tag[2], tag[3]]) {
            0 => self.floats(count),
            HALF => {
                let padded = count.checked_mul(2).and_then(|n| n.checked_next_multiple_of(4)).ok_or("a size is out of range")?;
                let bytes = self.take(padded)?;
                Ok(bytes.as_chunks().0[..count].iter().map(|&b| half_to_float(u16::from_le_bytes(b))).collect())
            }
            tag => Err(format!("weights stored as {tag:#x} are not known")),
        }
    }
}

/// IEEE 754 binary16 to binary32, exactly.
fn half_to_float(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(half >> 10 & 0x1f);
    let fraction = f32::from(half & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(tag: u32, weights: &[u8], rest: &[f32]) -> Vec<u8> {
        let mut out = tag.to_le_bytes().to_vec();
        out.extend(weights);
        out.extend(rest.iter().flat_map(|f| f.to_le_bytes()));
        out
    }

    const PARAM: &str = "7767517\n3 3\nInput in 0 1 data\nConvolution conv 1 1 data a 0=1 1=3 4=1 5=1 6=9\nPReLU act 1 1 a out 0=1\n";

    #[test]
    fn half_floats_are_read_with_their_padding() {
        let mut weights: Vec<u8> = (0..9).flat_map(|_| 0x3e00u16.to_le_bytes()).collect(); // 1.5
        weights.extend([0, 0]);
        let layers = read(PARAM, &bin(HALF, &weights, &[0.25, -0.5])).unwrap();
        let Op::Convolution { weight, bias, .. } = &layers[1].op else { panic!() };
        assert_eq!((&weight[..], &bias[..]), (&[1.5f32; 9][..], &[0.25f32][..]));
        let Op::Prelu { slope } = &layers[2].op else { panic!() };
        assert_eq!(slope, &[-0.5]);
        assert_eq!((&layers[2].inputs[..], &layers[2].outputs[..]), (&[1][..], &[2][..]));
    }

    #[test]
    fn a_byte_too_few_or_too_many_is_an_error() {
        let whole = bin(0, &[0; 36], &[0.0, 0.0]);
        assert!(read(PARAM, &whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(PARAM, &whole[..cut]).unwrap_err().contains("end too early"));
        }
        assert!(read(PARAM, &[&whole[..], &[0]].concat()).unwrap_err().contains("left over"));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let whole = bin(0, &[0; 36], &[0.0, 0.0]);
        for (from, to, word) in [
            ("7767517", "7767518", "magic"),
            ("3 3", "4 3", "announced"),
            ("PReLU act", "Swish act", "Swish"),
            ("6=9", "6=9 9=1", "9=1"),
            ("1=3", "1=5", "3 × 3"),
            ("1 1 a out", "1 1 b out", "before it is made"),
            ("1 1 a out", "1 1 a data", "made twice"),
        ] {
            let error = read(&PARAM.replacen(from, to, 1), &whole).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn half_floats_convert_exactly() {
        for (half, float) in [(0x0000, 0.0), (0x8001, -(2f32.powi(-24))), (0x3c00, 1.0), (0xc500, -5.0), (0x7bff, 65504.0), (0x0400, 2f32.powi(-14))] {
            assert_eq!(half_to_float(half), float);
        }
        assert_eq!(half_to_float(0x7c00), f32::INFINITY);
        assert!(half_to_float(0x7e00).is_nan());
    }
}
