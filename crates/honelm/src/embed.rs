//! Embeddings of texts.

use std::time::Instant;

use honelm_backend::block_on;
use honelm_engine::{EmbeddingSettings, Event as DriverEvent, Pooling, Request, scale_to_one};
use honelm_text::EncodeOptions;

use crate::{Cancel, Error, Model};

/// The number of texts that the model computes together.
const TOGETHER: usize = 16;

/// The embedding of a text.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Embedding {
    /// The values; the vector has length 1. // `[D]`
    pub values: Vec<f32>,
    /// The number of tokens of the text.
    pub tokens: usize,
}

impl Model {
    /// Returns what the model's files say about embeddings; `None` if they say nothing.
    #[must_use]
    pub fn embedding(&self) -> Option<EmbeddingSettings> {
        self.embedding
    }

    /// Returns the embedding of each text. `pooling` is by default that of the model's files, or else the mean.
    ///
    /// ```no_run
    /// use honelm::{Cancel, Model, RunOptions};
    ///
    /// # fn main() -> Result<(), honelm::Error> {
    /// let mut model = Model::open("all-MiniLM-L6-v2".as_ref(), &RunOptions::default(), &mut |_| true)?;
    /// let found = model.embed(&["The cat sat on the mat.", "A cat is sitting."], None, &Cancel::new())?;
    /// let cosine: f32 = found[0].values.iter().zip(&found[1].values).map(|(a, b)| a * b).sum();
    /// println!("{cosine}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A text without tokens or longer than the context, a device that fails, [`Error::Interrupted`] if `cancel` is set.
    pub fn embed(
        &mut self,
        texts: &[impl AsRef<str>],
        pooling: Option<Pooling>,
        cancel: &Cancel,
    ) -> Result<Vec<Embedding>, Error> {
        self.check_unchanged()?;
        let pooling = pooling.or(self.embedding.map(|own| own.pooling)).unwrap_or_default();
        let encode = EncodeOptions { add_special: true, parse_special: false };
        let mut out = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TOGETHER) {
            let tokens = texts.iter().map(|text| Ok(self.tokenizer().encode(text.as_ref(), encode)?));
            let tokens: Vec<Vec<u32>> = tokens.collect::<Result<_, Error>>()?;
            let requests = tokens.into_iter().map(|tokens| Request::embedding(tokens, pooling).with_cancel(cancel));
            out.extend(self.embed_together(requests.collect())?);
        }
        Ok(out)
    }

    /// Computes embeddings in common steps.
    fn embed_together(&mut self, requests: Vec<Request>) -> Result<Vec<Embedding>, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let driver = self.loaded.driver();
        let mut found = vec![None; requests.len()];
        let ids = requests.into_iter().map(|request| driver.submit(request, clock()));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        while found.contains(&None) {
            for (id, event) in block_on(driver.step(&clock)) {
                let Some(at) = ids.iter().position(|of| *of == id) else { continue };
                match event {
                    DriverEvent::Failed(error) => return Err(error.into()),
                    DriverEvent::Done(done) => {
                        let mut values = done.embedding.ok_or(Error::Interrupted)?;
                        scale_to_one(&mut values);
                        found[at] = Some(Embedding { values, tokens: done.prompt_tokens });
                    }
                    DriverEvent::Update(_) => {}
                }
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}
