//! The one shape of network that the engines run: Real-ESRGAN's compact network (a chain of 3 × 3 convolutions with PReLU,
//! a pixel shuffle, the enlarged input added, and for x2 and x3 a bicubic reduction of the x4 result).

use super::ncnn::{Layer, Op};

/// A 3 × 3 convolution, stride 1, zeros outside, and what follows it.
#[derive(Debug, Clone)]
pub struct Conv {
    pub inputs: usize,
    pub outputs: usize,
    /// [outputs][inputs][3][3]
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    /// PReLU's slope per output; `None` for the last convolution.
    pub slope: Option<Vec<f32>>,
}

/// Takes planes R, G, B of 0..=1 and gives planes `scale` times larger, about 0..=1 (not clamped).
#[derive(Debug, Clone)]
pub struct CompactNet {
    pub convs: Vec<Conv>,
    /// The pixel shuffle's factor; the last convolution has 3 × `shuffle`² outputs.
    pub shuffle: usize,
    /// `scale / shuffle` is the factor of the bicubic reduction (none at 1).
    pub scale: usize,
}

impl CompactNet {
    /// How far one output pixel sees, in input pixels: one per convolution, and one for the reduction's four taps.
    pub fn reach(&self) -> usize {
        self.convs.len() + usize::from(self.scale != self.shuffle)
    }

    /// Recognises the network in `layers`. Each layer must stand where the shape has it: a network that is only alike is refused.
    pub(super) fn from_graph(layers: Vec<Layer>, scale: u8) -> Result<CompactNet, String> {
        let scale = usize::from(scale);
        let mut layers = layers.into_iter().peekable();
        let mut next = |what: &str| layers.next().ok_or_else(|| format!("the network ends before its {what}"));
        let unlike = |layer: &Layer, wanted: &str| Err(format!("layer {} is not {wanted}", layer.name));

        let input = next("input")?;
        let Op::Input = input.op else {
            return unlike(&input, "the input");
        };
        let split = next("split")?;
        let (Op::Split, &[skip, trunk]) = (&split.op, &split.outputs[..]) else {
            return unlike(&split, "the split of the input");
        };
        if split.inputs != input.outputs {
            return unlike(&split, "the split of the input");
        }

        let mut convs: Vec<Conv> = Vec::new();
        let mut value = trunk;
        let (shuffled, shuffle) = loop {
            let layer = next("pixel shuffle")?;
            if layer.inputs != [value] || layer.outputs.len() != 1 {
                return unlike(&layer, "next in the chain");
            }
            value = layer.outputs[0];
            match layer.op {
                Op::Convolution { outputs, weight, bias } => {
                    let inputs = convs.last().map_or(3, |c| c.outputs);
                    if weight.len() != inputs * outputs * 9 || convs.last().is_some_and(|c| c.slope.is_none()) {
                        return Err(format!("layer {} does not fit the one before it", layer.name));
                    }
                    convs.push(Conv { inputs, outputs, weight, bias, slope: None });
                }
                Op::Prelu { slope } => match convs.last_mut() {
                    Some(conv) if conv.slope.is_none() && conv.outputs == slope.len() => conv.slope = Some(slope),
                    _ => {
                        return Err(format!("layer {} does not fit the one before it", layer.name));
                    }
                },
                Op::PixelShuffle { factor } => break (value, factor),
                _ => return unlike(&layer, "a part of the chain"),
            }
        };
        if convs.last().is_none_or(|c| c.slope.is_some() || c.outputs != 3 * shuffle * shuffle) {
            return Err("the last convolution does not fit the pixel shuffle".into());
        }

        let enlarged = next("enlarged input")?;
        match enlarged.op {
            Op::NearestResize { factor } if factor == shuffle as f32 && enlarged.inputs == [skip] => {}
            _ => return unlike(&enlarged, "the enlarged input"),
        }
        let add = next("sum")?;
        match add.op {
            Op::Add if add.inputs == [shuffled, enlarged.outputs[0]] => {}
            _ => return unlike(&add, "the sum of the shuffle and the enlarged input"),
        }
        if scale != shuffle {
            let resize = next("reduction")?;
            match resize.op {
                Op::BicubicResize { factor } if factor * shuffle as f32 == scale as f32 && resize.inputs == add.outputs => {}
                _ => return unlike(&resize, "the reduction to the wanted factor"),
            }
        }
        match layers.next() {
            Some(layer) => unlike(&layer, "expected after the end"),
            None => Ok(CompactNet { convs, shuffle, scale }),
        }
    }
}
