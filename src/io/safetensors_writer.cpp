#include "io/safetensors_writer.h"

#include <set>

#include "base/fail.h"
#include "io/json.h"
#include "io/printable.h"
#include "io/tensor_layout.h"

namespace spikescope {
namespace {

constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own bound
constexpr std::string_view kMetadata = "__metadata__";

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorPlan> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path), tensors_(std::move(tensors)), output_(path) {
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  uint64_t offset = 0;
  std::set<std::string_view> names{kMetadata};
  auto& entries = header.get_ref<Json::object_t&>();
  for (const TensorPlan& tensor : tensors_) {
    const std::string what = fmt::format("{}: tensor \"{}\"", path.string(), printable(tensor.name));
    if (!names.insert(tensor.name).second) fail("{}: has a name that is taken already; rename it", what);
    const ValueFormat* format = find_safetensors_format(tensor.dtype);
    if (!format) fail("{}: cannot be written with the unknown dtype \"{}\"", what, printable(tensor.dtype));
    const auto bytes = checked_bytes(tensor.shape, *format);
    if (!bytes) fail("{}: {} {} cannot be written", what, tensor.dtype, shape_text(tensor.shape));
    bytes_.push_back(static_cast<uint64_t>(*bytes));
    const uint64_t end = offset + bytes_.back();
    entries.emplace_back(tensor.name,
                         Json{{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}});
    offset = end;
  }

  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error& error) {
    fail("{}: a tensor's name or the metadata are not valid UTF-8; rename it ({})", path.string(),
         printable(error.what(), 200));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begins at a multiple of 8
  const uint64_t length = text.size();
  if (length > kLongestHeader)
    fail("{}: the header would have {} bytes, at most {} are allowed", path.string(), length, kLongestHeader);
  file_bytes_ = static_cast<int64_t>(sizeof length + length + offset);
  file_.emplace(PosixFile::create(output_.temporary(), path, false));
  file_->write(std::as_bytes(std::span(&length, 1)));
  file_->write(text);
}

void SafetensorsWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  if (next_ == tensors_.size() || tensors_[next_].name != name)
    fail("{}: tensor \"{}\" is not the next one to be written", path_.string(), printable(name));
  const TensorPlan& tensor = tensors_[next_];
  if (bytes.size() != bytes_[next_])
    fail("{}: tensor \"{}\": {} {} does not take the {} bytes that were given", path_.string(), printable(name),
         tensor.dtype, shape_text(tensor.shape), bytes.size());
  file_->write(bytes);
  ++next_;
}

void SafetensorsWriter::finish() {
  if (next_ != tensors_.size())
    fail("{}: tensor \"{}\" has not been written", path_.string(), printable(tensors_[next_].name));
  file_->close();
  output_.commit();
}

}  // namespace spikescope
