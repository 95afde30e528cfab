"""ESM-2 as transformers runs it: the independent implementation. Call it only where torch is installed."""

import tempfile
from pathlib import Path

import numpy as np

from betafold_mlx.esm.sizes import EsmConfig


def load(folder):
    """Load a checkpoint folder, and insist that transformers finds all it wants in it."""
    from transformers import EsmForMaskedLM

    model, report = EsmForMaskedLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"  # the one that keeps attention maps
    )  # fmt: skip
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    return model.eval()


def fresh(config: EsmConfig, seed: int):
    """Return a model as transformers itself makes and initialises it."""
    import torch
    from esm_helpers import hub_config
    from transformers import EsmConfig as HubConfig
    from transformers import EsmForMaskedLM

    torch.manual_seed(seed)
    return EsmForMaskedLM(HubConfig(**hub_config(config), attn_implementation="eager")).eval()


def tokenize(sequences):
    """Return padded token ids and the mask, by the tokenizer and the vocabulary of transformers."""
    from transformers import EsmTokenizer
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(get_default_vocab_list()))
        batch = EsmTokenizer(str(path))(list(sequences), return_tensors="pt", padding=True)
    return batch["input_ids"], batch["attention_mask"]


def outputs(model, sequences):
    """Return arrays of a padded batch: tokens, every hidden state, logits, contacts.

    The states before the final LayerNorm are caught at its input, as transformers does not hand them out.
    """
    import torch

    torch.set_num_threads(1)  # its threads wait by spinning, which takes the machine from everybody else
    tokens, mask = tokenize(sequences)
    before = []
    hook = model.esm.encoder.emb_layer_norm_after.register_forward_hook(
        lambda module, inputs, output: before.append(inputs[0])
    )
    with torch.no_grad():
        result = model(tokens, attention_mask=mask, output_hidden_states=True)
        hook.remove()
        *inner, last = (
            result.hidden_states
        )  # embeddings, after each block but the last, after the final LayerNorm
        arrays = {
            "tokens": tokens.int(),
            "hidden": torch.stack([*inner, before[0]]),
            "states": last,
            "logits": result.logits,
            "contacts": model.predict_contacts(tokens, mask),
        }
    return {name: np.array(array) for name, array in arrays.items()}
