#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "base/buffer.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "capture/dump.h"
#include "capture/dump_files.h"
#include "capture/dump_folders.h"
#include "capture/dump_layout.h"
#include "capture/dump_state.h"
#include "capture/write_queue.h"
#include "io/output_file.h"
#include "io/printable.h"

namespace spikescope {
namespace {

using Shape = std::vector<int64_t>;

// Large writes are cut into pieces of 8 MiB, so that the disk is busy while the rest is still being copied.
constexpr int64_t kPieceValues = 2 << 20;
constexpr int64_t kCopyValues = 1 << 16;  // copied by a thread at a time

// A declared point and what it still waits for. The rows of scores and pattern are prompts.
struct Declared {
  HookPoint point;
  Shape row_shape;
  int64_t row_size = 1;
  int64_t missing = 0;
  std::vector<bool> written;
};

// Memory for copies that wait to be written. It is used again and again: fresh pages would cost more than the copying.
class Copies {
 public:
  /// `size` values, which come back when the last owner lets go of them; this object has to be there then.
  std::shared_ptr<Buffer> take(int64_t size) {
    std::unique_ptr<Buffer> buffer;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        buffer = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (!buffer) buffer = std::make_unique<Buffer>();
    buffer->resize(size);
    return {buffer.release(), [this](Buffer* used) {
              const std::lock_guard lock(mutex_);
              free_.emplace_back(used);
            }};
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Buffer>> free_;
};

void check_tokens(const DumpTokens& tokens) {
  const bool framed =
      tokens.offsets.size() >= 2 && tokens.offsets.front() == 0 && tokens.offsets.back() == tokens.size();
  if (!framed || std::adjacent_find(tokens.offsets.begin(), tokens.offsets.end(), std::greater_equal<>()) !=
                     tokens.offsets.end()) {
    fail_usage("dump: the prompts' offsets must rise from 0 to the {} tokens, with at least one token a prompt",
               tokens.size());
  }
  if (tokens.strings.size() != tokens.ids.size() || tokens.prompts.size() + 1 != tokens.offsets.size()) {
    fail_usage("dump: {} ids, {} strings, {} offsets and {} prompts do not fit together", tokens.ids.size(),
               tokens.strings.size(), tokens.offsets.size(), tokens.prompts.size());
  }
}

void check_options(const DumpOptions& options) {
  if (options.storage != "float32" && options.storage != "float16") {
    fail_usage("dump: storage is \"{}\"; choose float32 or float16", options.storage);
  }
  if (options.gzip < 0 || options.gzip > 9)
    fail_usage("dump: gzip level {} is not between 0 (none) and 9", options.gzip);
}

void check_size(std::string_view what, const std::vector<float>& values, int64_t expected) {
  if (static_cast<int64_t>(values.size()) != expected)
    fail_usage("dump: {} has {} values, expected {}", what, values.size(), expected);
}

// FNV-1a over ids and offsets: enough to tell whether a run that resumes has the same prompts.
uint64_t fingerprint(const DumpTokens& tokens) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const auto* values : {&tokens.ids, &tokens.offsets}) {
    for (const int64_t value : *values) {
      for (int shift = 0; shift < 64; shift += 8)
        hash = (hash ^ (static_cast<uint64_t>(value) >> shift & 0xff)) * 0x100000001b3;
    }
  }
  return hash;
}

template <class T>
int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}

}  // namespace

struct DumpWriter::Impl {
  Impl(const std::filesystem::path& out, DumpInfo the_info, DumpTokens the_tokens, DumpOptions the_options)
      : info(std::move(the_info)), tokens(std::move(the_tokens)), options(std::move(the_options)) {
    check_tokens(tokens);
    check_options(options);
    info.storage = options.storage;
    for (const std::string_view key : {"n_layers", "d_model"})
      json_get<int64_t>(info.config, key, "dump: DumpInfo::config");
    staging.emplace(out, options.resume);
    if (staging->resumes()) {
      staging->keep();  // whatever goes wrong before the next layer is done, it can be tried again
      take_up(json_get<int64_t>(info.config, "n_layers", "dump"), json_get<int64_t>(info.config, "d_model", "dump"));
    }
    write_file(staging->path() / dump_layout::kRun, dump_layout::to_text(run_json()) + "\n");
    files.emplace(staging->path(), options);
    queue.emplace(options.queue_bytes);
  }

  /// Checks that the run before had the same settings, reads its state, and removes what it had begun after it.
  void take_up(int64_t layers, int64_t d_model) {
    const auto run = staging->path() / dump_layout::kRun;
    const Json before = read_json_file(run), now = run_json();
    for (const auto& [key, value] : now.items()) {
      if (key == "process" || key == "command") continue;
      const Json old = before.is_object() && before.contains(key) ? before[key] : Json();
      if (old != value)
        fail("{}: cannot be resumed: {} was {}, and is {} now; use the settings of then, or run without --resume",
             staging->path().string(), key, printable(old.dump(-1, ' ', false, Json::error_handler_t::replace), 200),
             printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 200));
    }
    state = read_state(staging->path() / dump_layout::kState, tokens.size(), d_model, layers);
    check_positions("the state to resume from", state->tracked);
    std::set<std::filesystem::path> keep;
    for (int64_t layer = 0; layer < state->next_layer; ++layer)
      keep.insert(staging->path() / dump_layout::layer_file(layer));
    std::vector<std::filesystem::path> rest;
    for (const auto& file : std::filesystem::directory_iterator(staging->path() / dump_layout::kLayers))
      if (!keep.contains(file.path())) rest.push_back(file.path());
    for (const auto& path : rest) std::filesystem::remove_all(path);
  }

  bool is_resumed(int64_t layer) const { return state && layer >= 0 && layer < state->next_layer; }

  /// What a later --resume needs to know while there is no index yet.
  Json run_json() const {
    Json run = {{"format", dump_layout::kFormat}, {"version", dump_layout::kVersion}, {"process", ::getpid()}};
    for (const auto& field : dump_layout::kInfoFields) run[std::string(field.name)] = info.*field.member;
    run["config"] = info.config;
    run["gzip"] = options.gzip;
    run["tokens"] = tokens.size();
    run["prompts"] = tokens.n_prompts();
    run["tokens_fnv1a"] = fmt::format("{:016x}", fingerprint(tokens));
    run.update(options.settings);
    return run;
  }

  void check_open(int64_t layer) const {
    if (finished) fail_usage("dump: written to after finish()");
    if (finished_blocks.contains(layer)) fail_usage("dump: block {} is written to after finish_block()", layer);
  }

  void check_block(int64_t block) const {
    if (block < 0 || block >= dump_layout::kMostLayers) fail_usage("dump: there is no block {}", block);
    check_open(block);
  }

  void check_positions(std::string_view what, const std::vector<TokenPosition>& positions) const {
    for (const auto& [prompt, token] : positions) {
      if (prompt < 0 || prompt >= tokens.n_prompts() || token < 0 || token >= tokens.length(prompt)) {
        fail_usage("dump: {} names token {} of prompt {}, which is not there", what, token, prompt);
      }
    }
  }

  void check_complete(int64_t layer) const {
    for (const auto& [name, declared] : points) {
      if (declared.point.layer != layer || declared.missing == 0) continue;
      fail("dump: {} of {} {} of {} never came, although it was to be captured; please report this", declared.missing,
           declared.written.size(), dump_layout::is_square(declared.point) ? "prompts" : "rows", declared.point.name());
    }
  }

  void mark_written(Declared& declared, int64_t first, int64_t count) const {
    if (first < 0 || count < 0 || first > static_cast<int64_t>(declared.written.size()) ||
        count > static_cast<int64_t>(declared.written.size()) - first) {
      fail_usage("dump: rows {} to {} of {}, which has {}", first, first + count, declared.point.name(),
                 declared.written.size());
    }
    for (int64_t row = first; row < first + count; ++row) {
      if (declared.written[static_cast<size_t>(row)])
        fail_usage("dump: row {} of {} is written twice", row, declared.point.name());
      declared.written[static_cast<size_t>(row)] = true;
    }
    declared.missing -= count;
  }

  DumpInfo info;
  DumpTokens tokens;
  DumpOptions options;
  std::map<std::string, Declared> points;  // by dataset
  std::set<int64_t> finished_blocks;
  std::vector<float> losses;
  bool finished = false;

  std::optional<DumpState> state;  // resumed from

  // Destroyed in reverse order: the thread stops, the copies are freed, the files close, the folder goes.
  std::optional<DumpStaging> staging;
  std::optional<DumpFiles> files;  // touched by the queue's thread only
  Copies copies;
  std::optional<WriteQueue> queue;
};

DumpWriter::DumpWriter(const std::filesystem::path& out, DumpInfo info, DumpTokens tokens, DumpOptions options)
    : impl_(std::make_unique<Impl>(out, std::move(info), std::move(tokens), std::move(options))) {}

DumpWriter::~DumpWriter() = default;

void DumpWriter::declare(const HookPoint& point, std::vector<int64_t> row_shape) {
  Impl& impl = *impl_;
  impl.check_open(point.layer);
  const bool square = dump_layout::is_square(point);
  const int64_t rows = dump_layout::rows_of(point, impl.tokens);
  Declared declared{point, row_shape, 1, rows, std::vector<bool>(static_cast<size_t>(rows))};
  for (const int64_t size : row_shape) {
    if (size < 1 || __builtin_mul_overflow(declared.row_size, size, &declared.row_size)) {
      fail_usage("dump: {} has rows of the impossible shape [{}]", point.name(), fmt::join(row_shape, ", "));
    }
  }
  if (row_shape.empty() || (square && row_shape.size() != 1)) {
    fail_usage("dump: {} has rows of shape [{}], expected {}", point.name(), fmt::join(row_shape, ", "),
               square ? "[heads]" : "at least one dimension");
  }
  if (impl.is_resumed(point.layer)) {
    impl.queue->push(0, [&files = *impl.files, point] { files.adopt(point.layer, DumpFiles::object_of(point)); });
    return;
  }
  if (!impl.points.emplace(point.dataset(), std::move(declared)).second)
    fail_usage("dump: {} is declared twice", point.name());
  if (square) return;  // each prompt's dataset is made when it comes
  row_shape.insert(row_shape.begin(), rows);
  impl.queue->push(0, [&files = *impl.files, point, row_shape] { files.declare(point, 0, row_shape); });
}

void DumpWriter::write(const HookPoint& point, int64_t first_row, const float* data, int64_t rows, int64_t row_size,
                       int64_t row_stride) {
  Impl& impl = *impl_;
  impl.check_open(point.layer);
  const auto found = impl.points.find(point.dataset());
  if (found == impl.points.end()) fail_usage("dump: {} is written, but was not declared", point.name());
  Declared& declared = found->second;
  const bool square = dump_layout::is_square(point);
  impl.mark_written(declared, first_row, square ? 1 : rows);
  const int64_t length = square ? impl.tokens.length(first_row) : 0;
  const int64_t expected = square ? length * length : declared.row_size;
  if (row_size != expected || row_stride < row_size || (square && rows != declared.row_size)) {
    fail_usage("dump: {}: {} rows of {} values at a distance of {}, expected {}rows of {}", point.name(), rows,
               row_size, row_stride, square ? fmt::format("{} ", declared.row_size) : "", expected);
  }
  const int64_t prompt = square ? first_row : 0;
  if (square) {
    impl.queue->push(0, [&files = *impl.files, point, prompt, shape = Shape{rows, length, length}] {
      files.declare(point, prompt, shape);
    });
  }
  const int64_t piece_rows = std::max<int64_t>(1, kPieceValues / row_size);
  for (int64_t done = 0; done < rows; done += piece_rows) {
    const int64_t count = std::min(piece_rows, rows - done);
    const auto size = static_cast<size_t>(count * row_size);
    const auto bytes = static_cast<int64_t>(size * sizeof(float));
    const std::shared_ptr<Buffer> copy = impl.copies.take(count * row_size);
    const float* from = data + done * row_stride;
    parallel_for_ranges(count, std::max<int64_t>(1, kCopyValues / row_size), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        std::copy_n(from + row * row_stride, row_size, copy->data() + row * row_size);
    });
    const int64_t first = square ? done : first_row + done;
    impl.queue->push(bytes, [&files = *impl.files, point, prompt, first, count, size, copy] {
      files.write(point, prompt, first, count, std::span<const float>(copy->data(), size));
    });
  }
}

void DumpWriter::write_sinks(int64_t block, SinkStatistics statistics) {
  Impl& impl = *impl_;
  impl.check_block(block);
  const auto kept = static_cast<int64_t>(statistics.tokens.size());
  if (statistics.heads < 1 || statistics.kv_heads < 1 || statistics.head_dim < 1)
    fail_usage("dump: sinks without heads");
  impl.check_positions("sinks", statistics.tokens);
  check_size("sinks: column_sums", statistics.column_sums, statistics.heads * impl.tokens.size());
  check_size("sinks: late_column_sums", statistics.late_column_sums, statistics.heads * impl.tokens.size());
  check_size("sinks: entropy", statistics.entropy, statistics.heads * impl.tokens.n_prompts());
  check_size("sinks: values", statistics.values, kept * statistics.kv_heads * statistics.head_dim);
  if (statistics.columns.size() != statistics.tokens.size()) {
    fail_usage("dump: sinks: {} columns for {} tokens", statistics.columns.size(), kept);
  }
  int64_t bytes = 3 * bytes_of(statistics.column_sums) + bytes_of(statistics.values);
  for (size_t i = 0; i < statistics.columns.size(); ++i) {
    check_size("sinks: a column", statistics.columns[i],
               statistics.heads * impl.tokens.length(statistics.tokens[i].first));
    bytes += 2 * bytes_of(statistics.columns[i]);  // they are joined for writing
  }
  const auto shared = std::make_shared<const SinkStatistics>(std::move(statistics));
  impl.queue->push(bytes, [&impl, block, shared] { impl.files->write_sinks(block, *shared, impl.tokens); });
}

void DumpWriter::write_writers(int64_t block, WriterRows rows) {
  Impl& impl = *impl_;
  impl.check_block(block);
  const auto kept = static_cast<int64_t>(rows.tokens.size());
  if (rows.d_model < 1 || rows.width < 0) fail_usage("dump: writers of width {} and {}", rows.d_model, rows.width);
  impl.check_positions("writers", rows.tokens);
  check_size("writers: attention", rows.attention, kept * rows.d_model);
  check_size("writers: mlp", rows.mlp, kept * rows.d_model);
  check_size("writers: mlp_post", rows.mlp_post, kept * rows.width);
  const int64_t bytes = bytes_of(rows.attention) + bytes_of(rows.mlp) + bytes_of(rows.mlp_post);
  const auto shared = std::make_shared<const WriterRows>(std::move(rows));
  impl.queue->push(bytes, [&files = *impl.files, block, shared] { files.write_writers(block, *shared); });
}

void DumpWriter::write_losses(std::vector<float> losses) {
  if (impl_->finished) fail_usage("dump: written to after finish()");
  check_size("losses", losses, impl_->tokens.size());
  impl_->losses = std::move(losses);
}

void DumpWriter::finish_block(int64_t block) {
  impl_->check_block(block);
  impl_->check_complete(block);
  impl_->finished_blocks.insert(block);
  impl_->queue->push(0, [&files = *impl_->files, block] { files.finish_layer(block); });
}

const std::optional<DumpState>& DumpWriter::resumed() const { return impl_->state; }

void DumpWriter::adopt(int64_t block, bool sinks, bool writers) {
  if (!impl_->is_resumed(block)) fail_usage("dump: block {} was not there to begin with", block);
  impl_->queue->push(0, [&files = *impl_->files, block, sinks, writers] {
    if (sinks) files.adopt(block, dump_layout::sinks_group(block));
    if (writers) files.adopt(block, dump_layout::writers_group(block));
  });
}

void DumpWriter::save_state(DumpState state) {
  const int64_t bytes = bytes_of(state.residual);
  const auto shared = std::make_shared<const DumpState>(std::move(state));
  impl_->queue->push(bytes,
                     [path = impl_->staging->path() / dump_layout::kState, shared] { write_state(path, *shared); });
}

void DumpWriter::stop() {
  impl_->queue->drain();
  impl_->staging->keep();
}

void DumpWriter::finish(const std::string& model_sha256) {
  Impl& impl = *impl_;
  if (impl.finished) fail_usage("dump: finish() is called twice");
  for (const auto& [name, declared] : impl.points) impl.check_complete(declared.point.layer);
  impl.info.model_sha256 = model_sha256;
  impl.queue->push(0, [&impl] { impl.files->finish(impl.info, impl.tokens, impl.losses); });
  impl.queue->drain();
  std::error_code ignored;
  std::filesystem::remove(impl.staging->path() / dump_layout::kState, ignored);
  std::filesystem::remove(impl.staging->path() / dump_layout::kRun, ignored);  // the index says it all from now on
  impl.staging->publish();
  impl.finished = true;
}

int64_t dump_bytes(const DumpTokens& tokens, const std::vector<std::pair<HookPoint, std::vector<int64_t>>>& points,
                   const DumpOptions& options) {
  // Around the values: a file for each layer, headers of datasets and groups; for a string its reference and its heap
  // entry.
  constexpr int64_t kFile = 4096, kDataset = 512, kString = 48;
  const int64_t value_size = options.storage == "float16" ? 2 : 4;
  int64_t total = 4 * kFile;
  bool overflow = false;
  const auto add = [&](std::initializer_list<int64_t> factors) {
    int64_t product = 1;
    for (const int64_t factor : factors) overflow |= __builtin_mul_overflow(product, factor, &product);
    overflow |= __builtin_add_overflow(total, product, &total);
  };
  std::set<int> layers;
  for (const auto& [point, row_shape] : points) {
    if (layers.insert(point.layer).second) add({kFile});
    int64_t row_size = 1;
    for (const int64_t size : row_shape) overflow |= __builtin_mul_overflow(row_size, size, &row_size);
    if (!dump_layout::is_square(point)) {
      add({dump_layout::rows_of(point, tokens), row_size, value_size});
      add({kDataset});
      continue;
    }
    for (int64_t prompt = 0; prompt < tokens.n_prompts(); ++prompt) {
      add({row_size, tokens.length(prompt), tokens.length(prompt), value_size});
      add({kDataset});
    }
  }
  add({tokens.size() + tokens.n_prompts() + 1, static_cast<int64_t>(sizeof(int64_t))});
  for (const std::string& piece : tokens.strings) add({static_cast<int64_t>(piece.size()) + kString});
  for (const Json& prompt : tokens.prompts) add({static_cast<int64_t>(dump_layout::to_text(prompt).size()) + kString});
  return overflow ? std::numeric_limits<int64_t>::max() : total;
}

}  // namespace spikescope
