"""SCS, style cosine similarity: does motion look like the same person's?

Mimic (AAAI 2024) compares embeddings of true and generated motion by a classifier of identities
that was trained by itself. Here it is a temporal convolution network, a transformer and a pool;
what the classifier reads is the embedding.

Shapes: B batch, T motion frames, C channels, E embedding.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from training.corpus import Corpus
from training.judges import Progress, Standardise, crops, learn, train_clips

_WIDTH, _EMBEDDING = 64, 64
_BATCH, _CROP_S = 24, 2.4


class StyleJudge(nn.Module):
    """Classifies people by their motion.

    Attributes:
        sizes: What it is built with.
        measured: Share of clips it never saw, of people it knows, that it gives to the right
            person; and the share that guessing would.
    """

    FILE = "scs"

    def __init__(self, channels: int, identities: int) -> None:
        super().__init__()
        self.sizes = {"channels": channels, "identities": identities}
        self.measured: dict[str, float] = {}
        self.standardise = Standardise(channels)
        self.embed = nn.Linear(channels, _WIDTH)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, 3, padding=dilation, dilation=dilation)
            for dilation in (1, 2, 4)
        )
        self.transformer = nn.TransformerEncoderLayer(
            _WIDTH, 4, 2 * _WIDTH, 0.1, batch_first=True, norm_first=True
        )
        # Mean and spread over time: who opens far and who hardly moves differ in the latter.
        self.pool = nn.Linear(2 * _WIDTH, _EMBEDDING)
        self.classes = nn.Linear(_EMBEDDING, identities)

    def forward(self, motion: Tensor) -> Tensor:
        """Embeddings (B, E) of motion (B, T, C)."""
        x = self.embed(self.standardise(motion))
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x.transpose(1, 2)).transpose(1, 2))
        x = self.transformer(x)
        return torch.tanh(self.pool(torch.cat([x.mean(1), x.std(1, unbiased=False)], dim=-1)))

    @torch.inference_mode()
    def embedding(self, motion: np.ndarray) -> np.ndarray:
        """The embedding (E,) of motion (T, C)."""
        return self(torch.from_numpy(np.asarray(motion, np.float32))[None])[0].numpy()

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float:
        """SCS: cosine of the embeddings of two motions (T, C), -1..1."""
        a, b = self.embedding(first), self.embedding(second)
        return float(a @ b / max(1e-9, np.linalg.norm(a) * np.linalg.norm(b)))

    @classmethod
    def train_on(cls, corpus: Corpus, steps: int, progress: Progress | None = None) -> StyleJudge:
        """Train on the training split.

        Raises:
            IdiolectError: It has fewer than two people.
        """
        clips = train_clips(corpus)
        names = sorted({corpus.clips[index].identity for index in clips})
        if len(names) < 2:
            raise IdiolectError(
                f"{corpus.folder}: the training split has {len(names)} people, two are needed to "
                "tell styles apart",
                hint="Leave SCS out with --no-judges.",
                code="corpus_too_small",
                setting="--corpus",
            )
        place = {name: index for index, name in enumerate(names)}
        with torch.random.fork_rng():
            torch.manual_seed(7)
            judge = cls(len(corpus.channels), len(names))
            judge.standardise.measure(corpus, clips)

            def loss(step: int) -> Tensor:
                drawn = list(
                    crops(corpus, clips, _BATCH, _CROP_S, np.random.default_rng((7, step)))
                )
                motion = torch.from_numpy(np.stack([motion for _, _, motion in drawn]))
                wanted = torch.tensor(
                    [place[corpus.clips[index].identity] for index, _, _ in drawn]
                )
                return F.cross_entropy(judge.classes(judge(motion)), wanted, label_smoothing=0.05)

            learn(judge, loss, steps, "style judge", progress)
        judge.measured = judge._accuracy(corpus, place)
        return judge

    @torch.inference_mode()
    def _accuracy(self, corpus: Corpus, place: dict[str, int]) -> dict[str, float]:
        """How many clips of other splits, of known people, it gives to the right person."""
        others = [
            index
            for index, clip in enumerate(corpus.clips)
            if clip.split != "train" and clip.identity in place
        ][:200]
        right = [
            int(self.classes(torch.from_numpy(self.embedding(corpus.clip_motion(index)))).argmax())
            == place[corpus.clips[index].identity]
            for index in others
        ]
        found = {"clips": float(len(right)), "chance": 1.0 / len(place)}
        return {"accuracy": float(np.mean(right)), **found} if right else found
