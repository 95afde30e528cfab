# What the recipes of the bundled models have in common (sourced): structures -> data set -> training -> weights -> figures on the test split.
#   train_bundled NAME DATA OPTIONS...   NAME: weights/betafold-NAME; DATA: folder with peptides.jsonl.gz and chains.jsonl.gz
# Started again after an interrupt, it goes on where it was.
run() {
  printf '== betafold-mlx %s\n' "$*" >&2
  scripts/betafold-mlx "$@"
}

train_bundled() {
  local name="$1" data="$2" weights="weights/betafold-$1"
  shift 2
  # glibc gives large arrays back to the system after each operation and page-faults them in again; keep them.
  export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
  if [[ ! -e datasets/mini ]]; then
    run dataset build "$data/peptides.jsonl.gz" "$data/chains.jsonl.gz" -o datasets/mini
  fi
  if [[ -e runs/$name/run.json ]]; then
    run train datasets/mini -o "runs/$name" --resume
  else
    run train datasets/mini -o "runs/$name" "$@"
  fi
  mkdir -p "$weights"
  cp "runs/$name/best/config.json" "runs/$name/best/model.safetensors" "$weights/"
  run evaluate datasets/mini --model "$weights" --split test --scope 200 --json >"runs/$name/test.json"
}
