"""Models, tasks, and the formats in which a model is exported."""

from tff_vision.catalogue.rows import How, Kind, Limit, Row, Trait

_BUILDERS = 'tff_vision.models'
_IMAGES = frozenset((Trait.RETURNS_IMAGES,))
_MASKS = (Limit('task', 'it returns a class for each pixel', ('segmentation',), How.NEEDS),)

MODELS = Kind.of('model', (
    Row('autoencoder', 'convolutions down to 48 numbers and back to the image', traits=_IMAGES,
        limits=(Limit('task', 'it returns images', ('anomaly',), How.NEEDS),), loads=f'{_BUILDERS}.autoencoder:build'),
    Row('centernet_gn', 'four stages with GroupNorm and a map of centre points, after Zhou et al. 2019',
        limits=(Limit('task', 'it returns maps of centre points', ('detection',), How.NEEDS),),
        loads=f'{_BUILDERS}.centernet:build'),
    Row('cnn', 'McMahan et al. 2017: two 5x5 convolutions, 512 hidden units', loads=f'{_BUILDERS}.cnn:build_cnn'),
    Row('cnn_bn', 'the same as cnn_gn with BatchNorm, which must stay on each client',
        limits=(Limit('algorithm', 'its BatchNorm must stay on each client', ('fedbn', 'fedper', 'fedrep'),
                      How.NEEDS),),
        loads=f'{_BUILDERS}.cnn:build_cnn_bn'),
    Row('cnn_dropout', 'Reddi et al. 2021: two 3x3 convolutions, 128 hidden units, dropout',
        loads=f'{_BUILDERS}.cnn:build_cnn_dropout'),
    Row('cnn_gn', 'four convolutions with GroupNorm, for images of any size', loads=f'{_BUILDERS}.cnn:build_cnn_gn'),
    Row('cnn_private', 'two convolutions with GroupNorm and tanh, for private SGD: few weights, even gradients',
        loads=f'{_BUILDERS}.cnn:build_cnn_private'),
    Row('cnn_tanh', 'two convolutions with tanh, whose bounded activations suit private training',
        loads=f'{_BUILDERS}.cnn:build_cnn_tanh'),
    Row('lenet', 'Li et al. 2022 (NIID-Bench): two 5x5 convolutions of 6 and 16 channels, 120 and 84 hidden units',
        loads=f'{_BUILDERS}.cnn:build_lenet'),
    Row('linear', 'multinomial logistic regression on pixels', loads=f'{_BUILDERS}.cnn:build_linear'),
    Row('mlp', 'McMahan et al. 2017: two hidden layers of 200 units', loads=f'{_BUILDERS}.cnn:build_mlp'),
    Row('mobilenet_v3_small', 'MobileNetV3-Small (Howard et al. 2019) with GroupNorm',
        loads=f'{_BUILDERS}.mobilenet:build'),
    Row('resnet18_gn', 'ResNet-18 (He et al. 2016) with GroupNorm', loads=f'{_BUILDERS}.resnet:build_resnet18'),
    Row('resnet20_gn', 'ResNet-20 for small images, with GroupNorm', loads=f'{_BUILDERS}.resnet:build_resnet20'),
    Row('scattering', 'fixed wavelets, and a trained layer on them', loads=f'{_BUILDERS}.scattering:build_scattering'),
    Row('scatternet', 'the wavelets, windows and normalisation of Tramer and Boneh 2021, and a trained layer on them',
        loads=f'{_BUILDERS}.scatternet:build'),
    Row('scatternet_mirrored', 'the same of an image and its mirror image together, in brightness and differences of '
        'colours: for photographs', loads=f'{_BUILDERS}.scatternet:build_mirrored'),
    Row('scatternet_scaled', 'the same features, scaled by constants instead of normalised within each image',
        loads=f'{_BUILDERS}.scatternet:build_scaled'),
    Row('unet3d_gn', 'the small U-Net with convolutions in three dimensions, for volumes', limits=_MASKS,
        reads=('volume_depth',), requires=('volume_depth',), loads=f'{_BUILDERS}.unet:build_of_volumes'),
    Row('unet_gn', 'U-Net (Ronneberger et al. 2015) with GroupNorm, four levels of 16 to 128 channels', limits=_MASKS,
        loads=f'{_BUILDERS}.unet:build'),
    Row('unet_gn_small', 'the same with three levels of 8 to 32 channels', limits=_MASKS,
        loads=f'{_BUILDERS}.unet:build_small'),
    Row('vit_tiny', 'a small vision transformer', loads=f'{_BUILDERS}.vit:build'),
    Row('keras_file', 'a Keras file of your own, --initial_model', reads=('initial_model',),
        requires=('initial_model',)),
), own=Row('', reads=('volume_depth',)))
BUILT_IN = tuple(name for name, row in MODELS.rows.items() if row.loads)

_ACCURACY = Limit('metrics_noise_multiplier', 'it releases accuracy, which the task has none of')
_VIEWS = 'the views of private SGD move images without their boxes'
TASKS = Kind.of('task', (
    Row('anomaly', 'how far an image is from those of normal_class, on which an autoencoder trains',
        reads=('normal_class',), requires=('normal_class',),
        limits=(Limit('model', 'the task needs a model that returns images', ('autoencoder', 'keras_file'), How.NEEDS,
                      own=True), _ACCURACY),
        loads='tff_vision.objectives.anomaly:build'),
    Row('classification', 'one class to an image, or several findings',
        reads=('loss', 'loss_option', 'class_weights', 'focal_gamma'),
        loads='tff_vision.objectives.classification:build'),
    Row('detection', 'a box and a class for each object, any number to an image',
        limits=(Limit('model', 'the task needs a model that returns maps of centre points',
                      ('centernet_gn', 'keras_file'), How.NEEDS, own=True),
                Limit('example_shift', _VIEWS), Limit('example_mirror', _VIEWS), _ACCURACY),
        loads='tff_vision.objectives.detection:build'),
    Row('embedding', 'unit vectors that are near each other for images of one class, also of one not trained on',
        traits=frozenset((Trait.COMPARES_EXAMPLES,)), reads=('embedding_size',), limits=(_ACCURACY,),
        loads='tff_vision.objectives.embedding:build'),
    Row('ordinal', 'one class to an image, of classes that have an order', reads=('class_order',),
        loads='tff_vision.objectives.ordinal:build'),
    Row('regression', 'a number for each image, in the user\'s unit', reads=('loss', 'loss_option', 'target_range'),
        limits=(_ACCURACY,), loads='tff_vision.objectives.regression:build'),
    Row('segmentation', 'the class of each pixel, from images with masks', reads=('class_weights', 'dice_weight'),
        limits=(Limit('model', 'the task needs a model that returns a class for each pixel',
                      ('unet_gn', 'unet_gn_small', 'unet3d_gn', 'keras_file'), How.NEEDS, own=True),),
        loads='tff_vision.objectives.segmentation:build'),
), own=Row('', limits=(_ACCURACY,)))

_LOSSES = 'tff_vision.objectives.losses'
_OF_CLASSES = (Limit('task', 'it is a loss of classes', ('classification',), How.NEEDS),)
_OF_NUMBERS = (Limit('task', 'it is a loss of numbers', ('regression',), How.NEEDS),)
LOSSES = Kind.of('loss', (
    Row('absolute', 'of numbers: the distance', limits=_OF_NUMBERS, loads=f'{_LOSSES}:NumberError'),
    Row('cross_entropy', 'of classes and findings: the usual one', limits=_OF_CLASSES, loads=f'{_LOSSES}:CrossEntropy'),
    Row('focal', 'of classes and findings: cross-entropy in which well-known examples count less (Lin et al. 2017)',
        reads=('focal_gamma',), limits=_OF_CLASSES, loads=f'{_LOSSES}:CrossEntropy'),
    Row('huber', 'of numbers: the square of small distances, larger ones as they are; the usual one',
        limits=_OF_NUMBERS, loads=f'{_LOSSES}:NumberError'),
    Row('squared', 'of numbers: the square of the distance', limits=_OF_NUMBERS, loads=f'{_LOSSES}:NumberError'),
), own=Row(''))

_FORMATS = 'tff_vision.export.formats'
FORMATS = Kind.of('format', (
    Row('keras', 'Keras model: stored pixels to logits', loads=f'{_FORMATS}:keras'),
    Row('saved_model', 'SavedModel laid out for TensorFlow Serving', loads=f'{_FORMATS}:saved_model'),
    Row('tflite', 'TFLite, float32', loads=f'{_FORMATS}:tflite_float'),
    Row('tflite_int8', 'TFLite with 8-bit weights and activations; input and output are float32',
        loads=f'{_FORMATS}:tflite_int8'),
    Row('onnx', 'ONNX, float32, for ONNX Runtime and others; an optional install', loads=f'{_FORMATS}:onnx'),
    Row('hub', 'a folder as model hubs expect it: Keras model, card with a header, meaning of the outputs',
        loads=f'{_FORMATS}:for_hub'),
))
